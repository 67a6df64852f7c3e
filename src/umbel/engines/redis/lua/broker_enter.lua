--#include broker_base
-- Note, before an owner attaches where a queue is, that it does: whoever reclaims it has to look there, too.
-- ARGV from 7: owner, queue. Answer: in how many ms its leases end; false when it was taken for dead.

local owner = ARGV[7]
if call('HEXISTS', P .. 'owner:' .. owner, 'p') == 0 then
  return false
end
begin()
call('SADD', P .. 'places:' .. owner, ARGV[8])
return math.max(tonumber(call('ZSCORE', P .. 'owners', owner) or 0) - NOW, 1)
