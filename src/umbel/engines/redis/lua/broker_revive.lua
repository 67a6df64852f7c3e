--#include broker_common
-- Put dead letters back on their lists, with nothing counted: how many, and the connections to wake.
-- ARGV from 7: keys.

local letters, seen = {}, {}
for at = 7, #ARGV do
  local list, base, raw = unpack(call('HMGET', P .. 'dead:' .. ARGV[at], 'list', 'base', 'raw'))
  if list and not seen[ARGV[at]] then
    seen[ARGV[at]] = true
    check(list)
    letters[#letters + 1] = { ARGV[at], list, tonumber(base), raw }
  end
end

begin()
for _, letter in ipairs(letters) do
  local key, list, base, raw = unpack(letter)
  if string.byte(raw, 1) == 123 then
    local _, _, _, rest = parted(raw)
    raw = '{' .. string.gsub(rest, '("delivery_info": {)' .. TOLD, '%1', 1)
  end
  call('LPUSH', list, raw)
  arrive(list, base, 1)
  delete_dead(key)
end
tidy_dead()
return { #letters, ring_all() }
