-- Say how many parts a group has, or that it has one more. KEYS: the group's, and what a cluster looks at.
-- ARGV: the number, when the group is given up in ms since the epoch (0: never); or "more", and the id of a call.
-- A group that was opened stays as it is, and a closed one closed. The keys are Celery's (results_part.lua), but
-- for .m, which has the calls that were added (set).
local group, number, expires = KEYS[1], ARGV[1], ARGV[2]
redis.call('DEL', KEYS[2] .. ':nothing')
if redis.call('GET', group .. '.c') == 'done' then
  return 0
end
if number == 'more' then
  if redis.call('SADD', group .. '.m', ARGV[2]) == 1 then
    redis.call('INCR', group .. '.t')
  end
  -- Celery's clients say the size last: until then it ends as late as anything here, and with the next part.
  local left = redis.call('PTTL', group .. '.s')
  if left == -2 then
    left = 30 * 86400000
  end
  if left > 0 then
    redis.call('PEXPIRE', group .. '.t', left)
    redis.call('PEXPIRE', group .. '.m', left)
  end
elseif expires == '0' then
  redis.call('SET', group .. '.s', number, 'NX')
else
  redis.call('SET', group .. '.s', number, 'NX', 'PXAT', expires)
end
return 1
