-- Read all values of a kind. KEYS: of the kind (state_common.lua). Answer: keys and values in turn.
--#include state_common
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', NOW)
local found = redis.call('HGETALL', KEYS[1])
if #over == 0 then
  return found
end
local is_over, answer = {}, {}
for _, key in ipairs(over) do
  is_over[key] = true
end
for place = 1, #found, 2 do
  if not is_over[found[place]] then
    answer[#answer + 1] = found[place]
    answer[#answer + 1] = found[place + 1]
  end
end
return answer
