--#include broker_common
-- Mark deliveries as about to start and never to be delivered again.
-- ARGV from 7: owner, then keys. Answer: false when the owner was taken for dead.

local held = P .. 'held:' .. ARGV[7]
if call('HEXISTS', P .. 'owner:' .. ARGV[7], 'p') == 0 then
  return false
end
begin()
for at = 8, #ARGV do
  local value = call('HGET', held, ARGV[at])
  if value then
    call('HSET', held, ARGV[at], 'E' .. string.sub(value, 2))
  end
end
return 1
