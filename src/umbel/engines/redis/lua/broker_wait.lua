--#include broker_base
--#include broker_announcing
-- Say that a connection is about to wait for a list by BLMOVE, which follows in the same packet.
-- ARGV from 7: owner, connection, the list to wait for, how long in ms, then the lists of all queues, those named after
-- the queues first.
-- Answer: that of `announce`; it begins with -1 when the owner was taken for dead.

local owner = ARGV[7]

begin()
local is_there = call('HEXISTS', P .. 'owner:' .. owner, 'p') == 1
expect(owner, ARGV[9], is_there)
if not is_there then
  return { -1, 0, -1 }
end
return announce(owner, ARGV[8], ARGV[9], tonumber(ARGV[10]), 11)
