--#include broker_common
-- Mark deliveries as about to start and never to be delivered again.
-- ARGV from 7: owner, what it was given (take_in), then keys. Answer: false when the owner was taken for dead.

if not take_in(ARGV[7], tonumber(ARGV[8]), ARGV[9]) then
  return false
end
local held = P .. 'held:' .. ARGV[7]
begin()
for at = 10, #ARGV do
  local value = call('HGET', held, ARGV[at])
  if value then
    call('HSET', held, ARGV[at], 'E' .. string.sub(value, 2))
  end
end
return 1
