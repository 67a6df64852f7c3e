--#include broker_common
-- Put dead letters back on their lists, with nothing counted: how many, and the connections to wake.
-- ARGV from 7: keys.

local count = 0
for at = 7, #ARGV do
  local key = P .. 'dead:' .. ARGV[at]
  local list, raw = unpack(call('HMGET', key, 'list', 'raw'))
  if list then
    if string.byte(raw, 1) == 123 then
      local _, _, _, rest = parted(raw)
      raw = '{' .. rest
    end
    call('LPUSH', list, raw)
    arrive(list, 1)
    call('DEL', key)
    call('ZREM', P .. 'dead', ARGV[at])
    count = count + 1
  end
end
return { count, ring_all() }
