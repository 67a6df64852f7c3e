--#include broker_common
-- Take away what a dead owner holds, and forget it.
--
-- ARGV from 7: the heir, the dead, 1 if only when it has expired, 1 if it is known what had not started,
-- then the keys of that. Answer: false when the heir was taken for dead itself; else what was handed over,
-- each as key, list, length of its base, envelope and 1 if marked early, and the connections to wake.

local heir, dead = ARGV[7], ARGV[8]
local only_expired, known = ARGV[9] == '1', ARGV[10] == '1'
if call('HEXISTS', P .. 'owner:' .. heir, 'p') == 0 then
  return { false, {} }
end
local node, prefix, last = unpack(call('HMGET', P .. 'owner:' .. dead, 'node', 'p', 'n'))
if not node then
  return { {}, {} }
end
if only_expired and tonumber(call('ZSCORE', P .. 'owners', dead) or 0) >= NOW then
  return { {}, {} }
end

local unstarted = {}
for at = 11, #ARGV do
  unstarted[ARGV[at]] = true
end
local held = P .. 'held:' .. dead
local all = call('HGETALL', held)
-- What it was given while it waited it may have started as well (take_in): by the key that follows the last one.
local inboxes, nth = {}, tonumber(last or 0)
for _, list in ipairs(prefix and call('SMEMBERS', P .. 'inboxes:' .. dead) or {}) do
  local inbox = P .. 'inbox:' .. dead .. ':' .. list
  local found = is_list(list) and call('LRANGE', inbox, 0, -1) or {}
  if #found > 0 then
    inboxes[#inboxes + 1] = inbox
  end
  for index = #found, 1, -1 do -- BLMOVE put the latest in front
    nth = nth + 1
    all[#all + 1] = prefix .. '.' .. number(nth)
    all[#all + 1] = label(list, #list) .. found[index]
  end
end
local back, handed, fields = {}, {}, {}
for at = 1, #all, 2 do
  local key, value = all[at], all[at + 1]
  local list, base, raw, early = held_parts(value)
  if known and unstarted[key] then
    check(list)
    back[#back + 1] = { place(key), list, base, raw }
  elseif known or early then
    handed[#handed + 1] = { place(key), key, list, base, raw, early and 1 or 0 }
    fields[#fields + 1] = key
    fields[#fields + 1] = value
  else
    check(list)
    back[#back + 1] = { place(key), list, base, marked(raw, 1, 0, true) } -- it may have started
  end
end

begin()
with_all('HSET', P .. 'held:' .. heir, fields)
give_back(back)
with_all('DEL', held, inboxes)
call('DEL', held, P .. 'owner:' .. dead)
call('ZREM', P .. 'owners', dead)
call('SREM', P .. 'node:' .. node, dead)
empty_inboxes(dead)
bury_inboxes(dead)
call('EXPIRE', P .. 'places:' .. dead, DAY) -- for who goes on with them
table.sort(handed, function(one, other)
  if one[1] ~= other[1] then
    return one[1] < other[1]
  end
  return one[2] < other[2]
end)
local answer = {}
for index, item in ipairs(handed) do
  answer[index] = { item[2], item[3], item[4], item[5], item[6] }
end
return { answer, ring_all() }
