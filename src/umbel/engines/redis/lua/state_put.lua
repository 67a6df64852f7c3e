-- Store values. KEYS: of their kind (state_common.lua).
-- ARGV: time to live in ms or "", 1 to store only where there is none, then key and value of each.
-- Answer: how many were stored.
--#include state_common
forget_expired()
local count, version = 0, nil
for at = 3, #ARGV, 2 do
  local key = ARGV[at]
  if ARGV[2] ~= '1' or redis.call('HEXISTS', KEYS[1], key) == 0 then
    version = version or changed()
    redis.call('HSET', KEYS[1], key, ARGV[at + 1])
    redis.call('ZADD', KEYS[4], version, key)
    if ARGV[1] == '' then
      redis.call('ZREM', KEYS[2], key)
    else
      redis.call('ZADD', KEYS[2], text(NOW + tonumber(ARGV[1])), key)
    end
    count = count + 1
  end
end
if count > 0 then
  limit_kind()
end
return count
