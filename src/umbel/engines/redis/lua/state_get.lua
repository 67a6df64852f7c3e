-- Read a value. KEYS: of its kind (state_common.lua). ARGV: key. Answer: the value, or nothing.
--#include state_common
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ends and tonumber(ends) <= NOW then
  return false
end
return redis.call('HGET', KEYS[1], ARGV[1])
