--#include broker_base
-- Say that a connection is about to wait for a list by BLMOVE, which follows in the same packet.
-- ARGV from 7: owner, connection, the list to wait for, how long in ms, then the lists of all queues, those named after
-- the queues first.
-- Answer: 0 if there is nothing, 1 if the list to wait for has something, so that the BLMOVE ends by itself, 2 if there
-- is something elsewhere, -1 when the owner was taken for dead; and how many ms its leases last.

local owner, connection, list, wait = ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
local inboxes = P .. 'inboxes:' .. owner

begin()
call('SADD', inboxes, list)
if call('HEXISTS', P .. 'owner:' .. owner, 'p') == 0 then
  --#include broker_graves
  bury_inboxes(owner) -- for what the BLMOVE brings
  return { -1, 0 }
end

local function note(key)
  call('ZREMRANGEBYSCORE', key, '-inf', NOW - 5000)
  call('ZADD', key, NOW + wait, connection)
  call('PEXPIRE', key, wait + 10000)
end

local queues = (#ARGV - 10) / STEPS
local due = call('ZRANGE', P .. 'parked', 0, 0, 'WITHSCORES')[2]
local there = due and tonumber(due) <= NOW
note(P .. 'blocked:' .. list)
for at = 11, #ARGV do
  there = there or call('LLEN', ARGV[at]) > 0
  if at <= 10 + queues then -- the base of a queue
    note(P .. 'bell:' .. ARGV[at])
    if ARGV[at] ~= list then
      note(P .. 'far:' .. ARGV[at])
    end
    call('ZADD', P .. 'bells', 'GT', NOW + wait, ARGV[at])
  end
end
call('PEXPIRE', P .. 'bells', wait + 10000)
local left = math.floor(tonumber(call('ZSCORE', P .. 'owners', owner) or 0) - NOW)
if call('LLEN', list) > 0 then
  return { 1, left }
end
return { there and 2 or 0, left }
