-- Delete values. KEYS: of their kind (state_common.lua). ARGV: their keys. Answer: how many there were.
--#include state_common
forget_expired()
local count = 0
for _, key in ipairs(ARGV) do
  count = count + redis.call('HDEL', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('ZREM', KEYS[4], key)
end
if count > 0 then
  changed()
  limit_kind()
end
return count
