--#include results_document
--#include broker_base
-- Settle the one delivery that waiting has brought (take_in in broker_common.lua) by an acknowledgement, perhaps with a
-- SUCCESS: what a worker with little to do does for each message, and somebody waits for. It does what broker_settle.lua
-- would, in a third of the time, without writing down as held what is settled in the same step.
-- ARGV from 7: owner; the number of its key; the list that it waited for; the database of results (results_common.lua);
-- the result's key, or nothing, the document, and when it expires; lists to look at.
-- Answer: false where nothing was done, because that is not all there is to it: broker_settle.lua knows what to do.
-- Else whether there is more on the lists, or due, and in how many ms the next parked message is due (-1: there is none).

local owner, nth, list = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local database, key, document, expires = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local OWNER, inbox = P .. 'owner:' .. owner, P .. 'inbox:' .. owner .. ':' .. list

local prefix, last = unpack(call('HMGET', OWNER, 'p', 'n'))
if not prefix or tonumber(last or 0) + 1 ~= nth or call('LLEN', inbox) ~= 1 then
  return false
end
in_database(database, function() end)

begin()
if key ~= '' then
  in_database(database, function()
    store_document(key, document, expires)
  end)
end
call('HSET', OWNER, 'n', number(nth))
call('RPOP', inbox)

if #ARGV == 13 then
  return { 0, -1 }
end
local there = call('EXISTS', unpack(ARGV, 14))
local due = call('ZRANGE', P .. 'parked', 0, 0, 'WITHSCORES')[2]
if not due then
  return { there, -1 }
end
local left = math.ceil(tonumber(due)) - NOW
return { left <= 0 and 1 or there, math.max(left, 0) }
