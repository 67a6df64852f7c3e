--#include broker_base
--#include broker_arrivals
--#include broker_publications
-- Change values of the state store that are what they were, and publish what goes with each.
-- ARGV from 7: number of queue names to note, the names; number of changes; then of each change
--   the keys of its kind (state_common.lua): values, ends, version, versions
--   its key, 1 if there was a value, that value, 1 if there is to be one, that value
--   number of values to store with it, and of each the keys of its kind, its key and the value
--   number of messages to publish with it, and of each what broker_publish.lua has
-- Answer: 1 for each that is made, now or before, else 0; the connections to wake.

local at = 7

local function take()
  at = at + 1
  return ARGV[at - 1]
end

local function take_all(count)
  at = at + count
  return { unpack(ARGV, at - count, at - 1) }
end

local function now_in(values, ends, key)
  local over = call('ZSCORE', ends, key)
  if over and tonumber(over) <= NOW then
    return false
  end
  return call('HGET', values, key)
end

local notes = tonumber(take())
local first_note = at
at = at + notes

-- All is read and checked before anything is written.
local changes, made = {}, {}
for index = 1, tonumber(take()) do
  local kind = take_all(4)
  local key, was, value = take(), { take(), take() }, { take(), take() }
  was, value = was[1] == '1' and was[2], value[1] == '1' and value[2]
  local change = { kind = kind, key = key, value = value, puts = {}, publish = {} }
  for _ = 1, tonumber(take()) do
    local put = take_all(6)
    call('HLEN', put[1])
    change.puts[#change.puts + 1] = put
  end
  for _ = 1, tonumber(take()) do
    local item = take_all(5)
    check(item[1])
    if item[4] ~= '' then
      check_parking()
    end
    change.publish[#change.publish + 1] = item
  end
  local found = now_in(kind[1], kind[2], key)
  made[index] = (found == value or found == was) and 1 or 0
  if found ~= value and found == was then
    changes[#changes + 1] = change
  end
end

note_queues(first_note, notes)

-- As in state_common.lua: what a version grows to.
local function changed(version)
  local grown = number(math.max(NOW_US, tonumber(call('GET', version) or 0) + 1))
  call('SET', version, grown, 'KEEPTTL')
  return grown
end

-- A value without an end, so its kind has none either.
local function put(values, ends, version, versions, key, value)
  call('HSET', values, key, value)
  call('ZREM', ends, key)
  call('ZADD', versions, changed(version), key)
  for _, each in ipairs({ values, ends, version, versions }) do
    call('PERSIST', each)
  end
end

for _, change in ipairs(changes) do
  local values, ends, version, versions = unpack(change.kind)
  for _, item in ipairs(change.publish) do
    publish(item[1], tonumber(item[2]), item[3], tonumber(item[4]), item[5])
  end
  for _, one in ipairs(change.puts) do
    put(unpack(one))
  end
  if change.value then
    put(values, ends, version, versions, change.key, change.value)
  else
    changed(version)
    call('HDEL', values, change.key)
    call('ZREM', ends, change.key)
    call('ZREM', versions, change.key)
  end
end
return { made, ring_all() }
