--#include broker_common
--#include broker_silence
-- The owners whose leases have ended: id, node, host and pid of each; nobody while all may still renew theirs.

begin()
if heard() > NOW then
  return {}
end
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'owners', '-inf', '(' .. number(NOW), 'LIMIT', 0, CHUNK)) do
  local of = call('HMGET', P .. 'owner:' .. id, 'node', 'host', 'pid')
  if of[1] then
    found[#found + 1] = { id, of[1], of[2], of[3] }
  else
    call('ZREM', P .. 'owners', id) -- its hash was deleted by somebody else
  end
end
return found
