--#include broker_common
-- The owners of leases, those whose leases end first at the front: id, node, host, pid, how many messages each
-- holds or was given while it waited, and in how many ms its leases end (0: they have).

local found = {}
local owners = call('ZRANGE', P .. 'owners', 0, -1, 'WITHSCORES')
for at = 1, #owners, 2 do
  local id = owners[at]
  local of = call('HMGET', P .. 'owner:' .. id, 'node', 'host', 'pid')
  local held = call('HLEN', P .. 'held:' .. id)
  for _, list in ipairs(call('SMEMBERS', P .. 'inboxes:' .. id)) do
    held = held + call('LLEN', P .. 'inbox:' .. id .. ':' .. list)
  end
  if of[1] then
    found[#found + 1] = { id, of[1], of[2], of[3], held, math.max(tonumber(owners[at + 1]) - NOW, 0) }
  end
end
return found
