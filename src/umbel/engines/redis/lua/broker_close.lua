--#include broker_common
-- End an owner's leases. What it still holds goes back, but for what was marked early; with that the owner stays,
-- fenced and expired, until it is reclaimed.
-- ARGV from 7: owner, 1 if it stays in any case. Answer: the connections to wake, 1 if it stays.

local id = ARGV[7]
local owner, held = P .. 'owner:' .. id, P .. 'held:' .. id
local node = call('HGET', owner, 'node')
local back, gone, stays = {}, {}, ARGV[8] == '1'
local all = node and call('HGETALL', held) or {}
for at = 1, #all, 2 do
  local list, base, raw, early = held_parts(all[at + 1])
  if early then
    stays = true
  else
    check(list)
    back[#back + 1] = { place(all[at]), list, base, raw }
    gone[#gone + 1] = all[at]
  end
end

begin()
empty_inboxes(id)
bury_inboxes(id)
call('EXPIRE', P .. 'places:' .. id, DAY) -- for who goes on with them
if not node then
  return { ring_all(), 0 }
end
give_back(back)
with_all('HDEL', held, gone)
call('SREM', P .. 'node:' .. node, id)
if stays then
  call('HDEL', owner, 'p')
  call('ZADD', P .. 'owners', 0, id)
else
  call('DEL', owner)
  call('ZREM', P .. 'owners', id)
end
return { ring_all(), stays and 1 or 0 }
