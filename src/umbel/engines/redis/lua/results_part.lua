-- Record parts of groups, and claim those that are complete with them. KEYS: what a cluster looks at.
-- ARGV: milliseconds that a claim lasts, then of each part:
--   its group's key, the call's id, its place ("+inf" without one), the document, who claims,
--   when the group is given up in ms since the epoch (0: never)
-- Answer, for each part: 1 if all parts of its group are there and the claim is its claimant's, else 0.
--
-- Keys and values are Celery's (celery/backends/redis.py), so that either's workers may record parts of one
-- group: behind the group's key .j has the documents (sorted set), .d which parts are there (set), .s how many
-- there will be, .t how many more were added, and .c has who goes on, or "done".
local FIELDS = 6
local claim_lasts = ARGV[1]
-- Parts belong to what empties a full server, so the first write is one that it never refuses.
redis.call('DEL', KEYS[1] .. ':nothing')
local answer = {}
for first = 2, #ARGV, FIELDS do
  local group, part, place, document, claimant, expires =
    ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3], ARGV[first + 4], ARGV[first + 5]
  local documents, present, size_key, more_key, claim =
    group .. '.j', group .. '.d', group .. '.s', group .. '.t', group .. '.c'
  local mine = 0
  if redis.call('GET', claim) ~= 'done' then
    local member = part .. ':' .. place
    if redis.call('SADD', present, member) == 1 then
      -- A set has equal documents once; a space behind one changes nothing of what it says.
      while redis.call('ZADD', documents, 'NX', place, document) == 0 do
        document = document .. ' '
      end
    end
    if expires ~= '0' then
      for _, key in ipairs({ documents, present, size_key, more_key, group .. '.m' }) do
        redis.call('PEXPIREAT', key, expires)
      end
    end
    local size = redis.call('GET', size_key)
    local more = redis.call('GET', more_key) or 0
    if size and redis.call('ZCARD', documents) >= tonumber(size) + tonumber(more) then
      local holder = redis.call('GET', claim)
      if not holder or holder == claimant then
        redis.call('SET', claim, claimant, 'PX', claim_lasts)
        mine = 1
      end
    end
  end
  answer[#answer + 1] = mine
end
return answer
