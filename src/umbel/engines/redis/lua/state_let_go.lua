-- End a lease. KEYS: the lease (state_hold.lua). ARGV: owner. Answer: 1 if it was the owner's, else 0.
--#include state_common
local found = redis.call('HMGET', KEYS[1], 'owner', 'ends')
if found[1] ~= ARGV[1] or tonumber(found[2]) <= NOW then
  return 0
end
begin()
redis.call('HSET', KEYS[1], 'ends', '0')
return 1
