--#include broker_common
-- Dead letters, the latest first: how many there are at these places; then of each that has not expired its
-- key, list, the length of its base, envelope, reason, when it died in ms, crashes.
-- ARGV from 7: the first place, counted from 0, and the last.

tidy_dead()
local keys = call('ZREVRANGE', P .. 'dead', ARGV[7], ARGV[8])
local answer = { #keys }
for _, key in ipairs(keys) do
  local of = call('HMGET', P .. 'dead:' .. key, 'list', 'base', 'raw', 'reason', 'died', 'crashes')
  if of[1] then
    answer[#answer + 1] = { key, of[1], of[2], of[3], of[4], of[5], of[6] }
  end
end
return answer
