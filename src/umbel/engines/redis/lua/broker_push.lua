-- Put one message on its list at once, unless its tag is known: what broker_publish.lua does where nothing is due later
-- and no name has to be noted, which is mostly so. Without all that the other scripts share, it takes half the time.
-- ARGV: prefix of umbel's own keys, the list, the length of its base, tag, envelope. Answer: the connections to wake.

local P, list, base, tag = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local call = redis.call
local time = call('TIME')
local bucket = math.floor(time[1] / 30)
local tags = P .. 'tags:' .. bucket

call('LLEN', list) -- an error here leaves everything as it was
if call('SISMEMBER', tags, tag) == 1 or call('SISMEMBER', P .. 'tags:' .. bucket - 1, tag) == 1 then
  return {}
end
-- A tag is known once its message is there: a user who may not write to the list is told so each time.
call('LPUSH', list, ARGV[5])
call('SADD', tags, tag)
call('EXPIREAT', tags, (bucket + 2) * 30)
if call('EXISTS', P .. 'bell:' .. string.sub(list, 1, base)) == 0 then
  return {}
end

local NOW, CHUNK = time[1] * 1000 + math.floor(time[2] / 1000), 1000
--#include broker_arrivals
arrive(list, base, 1)
return ring_all()
