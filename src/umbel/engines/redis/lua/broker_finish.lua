--#include results_document
--#include broker_base
--#include broker_announcing
-- Settle the one delivery that waiting has brought (take_in in broker_common.lua) by an acknowledgement, perhaps with a
-- SUCCESS: what a worker with little to do does for each message, and somebody waits for. It does what broker_settle.lua
-- would, in a third of the time, without writing down as held what is settled in the same step. It may say that a
-- connection is about to wait again, as broker_wait.lua does: the BLMOVE follows in the same packet.
-- ARGV from 7: owner; the number of its key; the list that it waited for; the database of results (results_common.lua);
-- the result's key, or nothing, the document, and when it expires; the connection that is to wait, or nothing, for which
-- list, and how long in ms; then the lists to look at, those named after the queues first.
-- Answer: false where nothing was done, because that is not all there is to it: broker_settle.lua knows what to do.
-- Else whether there is more on the lists, or due, for how many ms the leases last where it waits, and in how many ms the
-- next parked message is due (-1: there is none); of one that waits that is the answer of `announce`.

local owner, nth, list = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local database, key, document, expires = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local connection, wanted = ARGV[14], ARGV[15]
local OWNER, inbox = P .. 'owner:' .. owner, P .. 'inbox:' .. owner .. ':' .. list

local prefix, last = unpack(call('HMGET', OWNER, 'p', 'n'))
begin()
if connection ~= '' and not (prefix and wanted == list) then -- as was done before the wait that brought this
  expect(owner, wanted, prefix) -- first: the BLMOVE follows whatever comes of the rest
end
if not prefix or tonumber(last or 0) + 1 ~= nth then
  return false
end
local given = call('LLEN', inbox)
if given ~= 1 then
  if given == 0 then -- the server has lost it (take_in), and the BLMOVE may bring another one
    call('HSET', OWNER, 'n', number(nth))
  end
  return false
end
in_database(database, function() end)

if key ~= '' then
  in_database(database, function()
    store_document(key, document, expires)
  end)
end
call('HSET', OWNER, 'n', number(nth))
call('RPOP', inbox)

if connection ~= '' then
  return announce(owner, connection, wanted, tonumber(ARGV[16]), 17)
end
if #ARGV == 16 then
  return { 0, 0, -1 }
end
local there = call('EXISTS', unpack(ARGV, 17))
local due = call('ZRANGE', P .. 'parked', 0, 0, 'WITHSCORES')[2]
if not due then
  return { there, 0, -1 }
end
local left = math.ceil(tonumber(due)) - NOW
return { left <= 0 and 1 or there, 0, math.max(left, 0) }
