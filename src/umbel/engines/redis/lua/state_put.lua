-- Store a value. KEYS: of its kind (state_common.lua).
-- ARGV: key, value, time to live in ms or "", 1 to store it only where there is none.
-- Answer: 1 if it was stored, else 0.
--#include state_common
forget_expired()
if ARGV[4] == '1' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], text(NOW + tonumber(ARGV[3])), ARGV[1])
end
limit_kind()
changed()
return 1
