--#include broker_common
-- Let an owner take leases: the prefix of its keys.
-- ARGV from 7: owner, node, host, pid, ttl in ms, a prefix for its keys that is new; then owners that may
-- have been attached by calls that were not answered, and hold nothing: they are forgotten.
-- An owner that is attached again keeps its prefix, and what it holds.

local id, node, ttl = ARGV[7], ARGV[8], tonumber(ARGV[11])
local owner = P .. 'owner:' .. id
begin()
for at = 13, #ARGV do
  if ARGV[at] ~= id then
    call('DEL', P .. 'owner:' .. ARGV[at])
    call('ZREM', P .. 'owners', ARGV[at])
    call('SREM', P .. 'node:' .. node, ARGV[at])
  end
end
call('HSETNX', owner, 'p', ARGV[12])
call('HSET', owner, 'node', node, 'host', ARGV[9], 'pid', ARGV[10])
call('ZADD', P .. 'owners', number(NOW + ttl), id)
call('SADD', P .. 'node:' .. node, id)
call('SET', P .. 'consumed', '1', 'EX', 30 * DAY)
return call('HGET', owner, 'p')
