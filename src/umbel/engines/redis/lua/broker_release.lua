--#include broker_common
-- Give back deliveries that never started: how many, and the connections to wake.
-- ARGV from 7: owner, 1 if the owner itself asks, what it was given (take_in), then keys. Who asks for another gets
-- nothing of what was marked early. Answer: false when the owner itself asks and was taken for dead.

local owner, itself = ARGV[7], ARGV[8] == '1'
take_in(owner, tonumber(ARGV[9]), ARGV[10])
local held = P .. 'held:' .. owner
if call('HEXISTS', P .. 'owner:' .. owner, 'p') == 0 then
  return { not itself and 0, ring_all() }
end
local back, gone, seen = {}, {}, {}
for at = 11, #ARGV do
  local value = call('HGET', held, ARGV[at])
  if value and not seen[ARGV[at]] then
    seen[ARGV[at]] = true
    local list, base, raw, early = held_parts(value)
    if itself or not early then
      check(list)
      back[#back + 1] = { place(ARGV[at]), list, base, raw }
      gone[#gone + 1] = ARGV[at]
    end
  end
end
begin()
give_back(back)
with_all('HDEL', held, gone)
return { #back, ring_all() }
