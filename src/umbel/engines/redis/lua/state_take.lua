-- Take from a token bucket. KEYS: the bucket (hash: tokens, at in µs); none is a full one.
-- ARGV: amount, tokens a second, most tokens.
-- Answer: 0 if it was taken, else the seconds after which to ask again, as a text.
--#include state_common
local amount, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local passed = math.max(MICROSECONDS - tonumber(found[2] or MICROSECONDS), 0) / 1000000
local tokens = math.min(burst, tonumber(found[1] or burst) + passed * rate)
local missing = amount - tokens
if missing <= 0 then
  tokens = tokens - amount
end
begin()
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', text(MICROSECONDS))
-- It is forgotten when it is full again: no earlier, and seldom later.
redis.call('PEXPIRE', KEYS[1], text(math.ceil(math.min((burst - tokens) / rate, 1e9) * 1000) + 1000))
return missing <= 0 and '0' or string.format('%.17g', missing / rate)
