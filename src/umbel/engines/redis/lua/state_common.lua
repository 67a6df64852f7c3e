-- What the scripts of the state store share: the server's time, and forgetting what has expired.
--
-- A kind of values is four keys: KEYS[1] the values (hash), KEYS[2] when they end, in ms (zset; what has
-- no end is not in it), KEYS[3] its version, KEYS[4] the versions that it had when they were stored (zset). All
-- live as long as their last value, and the version for a day longer.

local time = redis.call('TIME')
local MICROSECONDS = tonumber(time[1]) * 1000000 + tonumber(time[2])
local NOW = math.floor(MICROSECONDS / 1000)
-- Versions and terms are kept for a day, at least, after the last change. They are made of the time, so that they
-- grow even when they have been forgotten, or the server has.
local KEPT = 86400

local function text(number)
  return string.format('%.0f', number)
end

-- A number that is larger than one before.
local function larger(before)
  return text(math.max(MICROSECONDS, tonumber(before or 0) + 1))
end

local function forget_expired()
  while true do
    local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', NOW, 'LIMIT', 0, 1000)
    if #over == 0 then
      return
    end
    redis.call('HDEL', KEYS[1], unpack(over))
    redis.call('ZREM', KEYS[4], unpack(over))
    redis.call('ZREM', KEYS[2], unpack(over))
  end
end

-- Note a change, and return the version that the kind has with it.
local function changed()
  local version = larger(redis.call('GET', KEYS[3]))
  redis.call('SET', KEYS[3], version)
  return version
end

-- Let a kind end with its last value, or never, if one of them has no end.
local function limit_kind()
  local ending = redis.call('ZCARD', KEYS[2])
  if redis.call('HLEN', KEYS[1]) > ending then
    for _, key in ipairs(KEYS) do
      redis.call('PERSIST', key)
    end
    return
  end
  local last = NOW
  if ending > 0 then
    last = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2])
    redis.call('PEXPIREAT', KEYS[1], text(last))
    redis.call('PEXPIREAT', KEYS[2], text(last))
    redis.call('PEXPIREAT', KEYS[4], text(last))
  end
  redis.call('PEXPIREAT', KEYS[3], text(math.max(last, NOW) + KEPT * 1000))
end

-- Begin to write, also where all memory is used (maxmemory), as broker_base.lua does: who has a lease keeps it, and what
-- there is can be run.
local function begin()
  redis.call('HDEL', KEYS[1], '')
end
