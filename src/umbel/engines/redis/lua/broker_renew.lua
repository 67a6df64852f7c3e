--#include broker_common
--#include broker_silence
-- Prolong the leases of a node's owners: those that still exist, the connections to wake, and 0 where the server did not
-- know of any node. ARGV from 7: node, ttl in ms; then owners, where not all of the node's are to be renewed. Looks after the
-- inboxes of owners that are gone, and after the ends of keys, too.

begin()
local _, is_known = heard(tonumber(ARGV[8]))
local alive = {}
local chosen = {}
for at = 9, #ARGV do
  chosen[ARGV[at]] = true
end
for _, id in ipairs(call('SMEMBERS', P .. 'node:' .. ARGV[7])) do
  if #ARGV < 9 or chosen[id] then
    call('ZADD', P .. 'owners', number(NOW + tonumber(ARGV[8])), id)
    alive[#alive + 1] = id
  end
end
if #alive > 0 then
  call('SET', P .. 'consumed', '1', 'EX', 30 * DAY)
end
for _, id in ipairs(call('ZRANGE', P .. 'graves', 0, 99)) do
  if not empty_inboxes(id) then
    bury_inboxes(id) -- anew, with what could not go back
  end
end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'graves', '-inf', NOW, 'LIMIT', 0, 100)) do
  call('ZREM', P .. 'graves', id)
  call('DEL', P .. 'inboxes:' .. id)
end
-- Where no umbel is left, Celery's workers return what is parked, and nobody would delete our list of it.
local last = call('ZRANGE', P .. 'parked', -1, -1, 'WITHSCORES')[2]
if last then
  call('PEXPIREAT', P .. 'parked', number(math.max(tonumber(last), NOW) + 30 * DAY * 1000))
end
return { alive, ring_all(), is_known }
