-- Read some values of a kind. KEYS: of the kind (state_common.lua). ARGV: their keys.
-- Answer: keys and values in turn, of those that there are.
--#include state_common
local answer = {}
if #ARGV == 0 or redis.call('EXISTS', KEYS[1]) == 0 then
  return answer
end
for place, value in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV))) do
  local ends = value and redis.call('ZSCORE', KEYS[2], ARGV[place])
  if value and not (ends and tonumber(ends) <= NOW) then
    answer[#answer + 1] = ARGV[place]
    answer[#answer + 1] = value
  end
end
return answer
