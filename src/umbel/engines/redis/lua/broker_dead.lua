--#include broker_common
-- Dead letters, the latest first: key, list, envelope, reason, when in ms, crashes.
-- ARGV from 7: the first and the last, counted from 0; -1 is the last of all. Those that have expired go.

local all = P .. 'dead'
for _, key in ipairs(call('ZRANGE', all, 0, -1)) do
  if call('EXISTS', P .. 'dead:' .. key) == 0 then
    call('ZREM', all, key)
  end
end
local found = {}
for _, key in ipairs(call('ZREVRANGE', all, ARGV[7], ARGV[8])) do
  local of = call('HMGET', P .. 'dead:' .. key, 'list', 'raw', 'reason', 'died', 'crashes')
  found[#found + 1] = { key, of[1], of[2], of[3], of[4], of[5] }
end
return found
