--#include broker_common
-- How many dead letters there are at some places, and then of each list with any of them: its name, the length
-- of its base, and how many. ARGV from 7: the first place, counted from 0, and the last.

tidy_dead()
local keys = call('ZREVRANGE', P .. 'dead', ARGV[7], ARGV[8])
local answer, counts = { #keys }, {}
for _, key in ipairs(keys) do
  local list, base = unpack(call('HMGET', P .. 'dead:' .. key, 'list', 'base'))
  if list then
    local name = base .. ':' .. list
    if not counts[name] then
      counts[name] = { list, base, 0 }
      answer[#answer + 1] = counts[name]
    end
    counts[name][3] = counts[name][3] + 1
  end
end
return answer
