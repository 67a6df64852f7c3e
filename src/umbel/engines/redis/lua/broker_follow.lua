-- Settle one delivery by an acknowledgement, perhaps with a SUCCESS, and lease the one message that follows it: what a
-- worker does for each step of a chain while there is nothing else to do. It does what broker_settle.lua would, in less
-- than half the time: that would lease what waits on the lists, or is due, before what follows.
-- ARGV: prefix of umbel's own keys; owner; the number of its last key; the key that is settled; the result's key, or
-- nothing, the document, and when it expires (results_common.lua); the tag of what follows, the key under which it is
-- leased, and the envelope behind its label (broker_common.lua); then all lists to take from, its own among them.
-- Answer: the version of what has been revoked, or false where nothing is settled, because that is not all there is to it: broker_settle.lua knows what to do.

local P, key, result, tag = ARGV[1], ARGV[4], ARGV[5], ARGV[8]
local OWNER, HELD = P .. 'owner:' .. ARGV[2], P .. 'held:' .. ARGV[2]
local call = redis.call

if call('HGET', OWNER, 'n') ~= ARGV[3] or call('HEXISTS', HELD, key) == 0 or call('EXISTS', unpack(ARGV, 11)) > 0 then
  return false
end
local time = call('TIME')
local due = call('ZRANGE', P .. 'parked', 0, 0, 'WITHSCORES')[2]
if due and tonumber(due) <= time[1] * 1000 + time[2] / 1000 then
  return false
end
local bucket = math.floor(time[1] / 30)
local tags, over = P .. 'tags:' .. bucket, (bucket + 2) * 30 -- as in broker_publications.lua
if call('SISMEMBER', P .. 'tags:' .. bucket - 1, tag) == 1 then
  return false
end

-- What may be done twice comes first, and what ends the hold last. A full server never refuses this, nor then the rest
-- (`begin` in broker_base.lua).
local has_end = call('EXPIREAT', tags, over) == 1
if result ~= '' then
  if ARGV[7] == '0' then
    call('SET', result, ARGV[6])
  else
    call('SET', result, ARGV[6], 'PXAT', ARGV[7])
  end
  redis.pcall('PUBLISH', result, ARGV[6])
end
if call('SADD', tags, tag) == 0 then
  return false
end
if not has_end then
  call('EXPIREAT', tags, over)
end
call('HSET', HELD, ARGV[9], ARGV[10])
call('HSET', OWNER, 'n', string.format('%.0f', ARGV[3] + 1))
call('HDEL', HELD, key)
return call('GET', P .. 'version:revoked') or 0
