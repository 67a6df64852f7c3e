-- Read what was stored of a kind after a version. KEYS: of the kind (state_common.lua). ARGV: the version, most values.
-- Answer: the version, 0 if there are more values than that, and keys and values in turn.
--#include state_common
local CHUNK = 1000
local version = redis.call('GET', KEYS[3]) or '0'
local since, most = ARGV[1], tonumber(ARGV[2])
if tonumber(since) > tonumber(version) then
  since = '0' -- the server was emptied since
end
forget_expired()
local found = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. since, '+inf', 'LIMIT', 0, most + 1)
if #found > most then
  return { version, 0 }
end
local answer = { version, 1 }
for first = 1, #found, CHUNK do
  local last = math.min(first + CHUNK - 1, #found)
  for place, value in ipairs(redis.call('HMGET', KEYS[1], unpack(found, first, last))) do
    if value then
      answer[#answer + 1] = found[first + place - 1]
      answer[#answer + 1] = value
    end
  end
end
return answer
