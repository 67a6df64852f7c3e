-- Forget a complete group whose claim is the caller's, or was and is nobody's now. KEYS: the group's, and what a
-- cluster looks at. ARGV: the caller, milliseconds that the group is remembered as closed. Answer: 1 if it was.
local group = KEYS[1]
local holder = redis.call('GET', group .. '.c')
if holder and holder ~= ARGV[1] then
  return 0
end
if not holder then -- a claim lasts only for a moment
  local size = redis.call('GET', group .. '.s')
  local more = redis.call('GET', group .. '.t') or 0
  if not size or redis.call('ZCARD', group .. '.j') < tonumber(size) + tonumber(more) then
    return 0
  end
end
redis.call('DEL', group .. '.j', group .. '.d', group .. '.s', group .. '.t', group .. '.m')
redis.call('SET', group .. '.c', 'done', 'PX', ARGV[2])
return 1
