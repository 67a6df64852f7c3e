--#include broker_base
--#include broker_arrivals
--#include broker_publications
-- What most scripts of the broker share. Each function that a script does not need costs it time in every call.

local function is_list(key)
  return type(redis.pcall('LLEN', key)) == 'number'
end

-- Run a command with any number of values, in chunks.
local function with_all(command, key, values)
  for first = 1, #values, CHUNK do
    call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end

-- What kombu writes into the `delivery_info` of what it restores.
local TOLD = '"redelivered": true, '

-- Deliveries, crashes, due and the rest of an envelope without them.
local function parted(raw)
  if string.byte(raw, 3) == 117 then -- u
    local count, crashes, due, rest = string.match(raw, OURS)
    if count then
      return tonumber(count), tonumber(crashes), tonumber(due), string.sub(raw, rest)
    end
  end
  return 0, 0, nil, string.sub(raw, 2)
end

-- An envelope with other numbers. What is not a JSON object stays as it is. Where it goes back to its list, `again`, it
-- says so to Celery's workers, too, in kombu's words: among the properties, which come last. What looks like them in a
-- text has its quotes escaped.
local function marked(raw, more_count, more_crashes, again)
  if string.byte(raw, 1) ~= 123 then
    return raw
  end
  local count, crashes, due, rest = parted(raw)
  if again then
    local from, stop, _ = 1, 0, nil
    while stop do
      from = stop + 1
      _, stop = string.find(rest, '"properties": {', from, true)
    end
    _, stop = string.find(rest, '"delivery_info": {', from, true)
    if from > 1 and stop and string.sub(rest, stop + 1, stop + #TOLD) ~= TOLD then
      rest = string.sub(rest, 1, stop) .. TOLD .. string.sub(rest, stop + 1)
    end
  end
  count, crashes = count + more_count, crashes + more_crashes
  if count == 0 and crashes == 0 then
    return '{' .. rest
  end
  return '{"umbel": [' .. number(count) .. ', ' .. number(crashes) .. '], ' .. rest
end

-- A held message: E for what was marked early, else L; the lengths of the list's name and of its base, the
-- name, the envelope.
local function label(list, base)
  return 'L' .. #list .. ':' .. base .. ':' .. list
end

local function held_parts(value)
  local length, base, start = string.match(value, '^.(%d+):(%d+):()')
  local stop = start + tonumber(length)
  local list = string.sub(value, start, stop - 1)
  return list, tonumber(base), string.sub(value, stop), string.byte(value, 1) == 69
end

-- Put envelopes back in front of their lists. `items` are {n, list, base, raw}; the lowest n is delivered first.
local function give_back(items)
  table.sort(items, function(one, other) return one[1] > other[1] end)
  local by_list, lists = {}, {}
  for _, item in ipairs(items) do
    local list, base, raw = unpack(item, 2)
    local values = by_list[list]
    if not values then
      values = {}
      by_list[list] = values
      lists[#lists + 1] = list
    end
    values[#values + 1] = raw
    arrive(list, base, 1)
  end
  for _, list in ipairs(lists) do
    with_all('RPUSH', list, by_list[list])
  end
end

-- The number within a key, by which what was fetched first goes back first.
local function place(key)
  return tonumber(string.match(key, '%.(%d+)$')) or 0
end

-- Give back what waiting left in the inboxes of an owner; whether all of it went. Who waits does so for the
-- base of a queue. What came from a key that is no list any more has to stay. What `may_have_started` is told.
local function empty_inboxes(owner, may_have_started)
  local all = true
  for _, list in ipairs(call('SMEMBERS', P .. 'inboxes:' .. owner)) do
    local inbox = P .. 'inbox:' .. owner .. ':' .. list
    local found = call('LRANGE', inbox, 0, -1)
    if #found > 0 then
      if is_list(list) then
        for index, raw in ipairs(may_have_started and found or {}) do
          found[index] = marked(raw, 1, 0, true)
        end
        -- BLMOVE put the latest in front.
        with_all('RPUSH', list, found)
        call('DEL', inbox)
        arrive(list, #list, #found)
      else
        all = false
      end
    end
  end
  return all
end

--#include broker_graves

-- What BLMOVE gave a waiting owner is leased by that: the owner may run it, under the next key that it would get. It
-- tells so to the next script that it calls, which writes it down as held: the number in that key, and the list it
-- waited for. To be told twice changes nothing. Where it was given nothing it tells the last number that it knows, and
-- no list. Of an owner that is gone it goes back, told that it may have started: whoever emptied the server has deleted
-- what says where to look, too.
-- A server that has lost its latest writes (a replica that took over) may know of fewer numbers, and what it lost may
-- still run: its number is used up, so that nothing else gets its key, and is settled in its place.
-- Answer: the prefix of the owner's keys, nil where it is gone, and the last number of a key.
local function take_in(owner, nth, list)
  local prefix, last = unpack(call('HMGET', P .. 'owner:' .. owner, 'p', 'n'))
  last = tonumber(last or 0)
  if prefix and nth <= last or not prefix and list == '' then
    return prefix or nil, last
  end
  if not prefix then
    begin()
    call('SADD', P .. 'inboxes:' .. owner, list)
    empty_inboxes(owner, true)
    bury_inboxes(owner)
    return nil, 0
  end
  local inbox = P .. 'inbox:' .. owner .. ':' .. list
  local raw = list ~= '' and last + 1 == nth and call('LINDEX', inbox, -1)
  begin()
  if raw then
    call('HSET', P .. 'held:' .. owner, prefix .. '.' .. number(nth), label(list, #list) .. raw)
  end
  call('HSET', P .. 'owner:' .. owner, 'n', number(nth))
  if raw then
    call('RPOP', inbox)
  end
  return prefix, nth
end

-- The list of a parked message, the length of its base, and the envelope.
local function parked_parts(field, value)
  local length, named, base, start = string.match(field, '^umbel:(%d+):(%d+):(%d+):()')
  local list = string.sub(field, start, start + tonumber(named) - 1)
  return list, tonumber(base), string.sub(value, 2, 1 + tonumber(length))
end

-- Return parked messages that are due to their lists, a bounded number; when the next is due in ms, or -1.
-- What belongs to a key that is no list is left aside for ten seconds, so that the others go on.
local function return_due()
  local parked = P .. 'parked'
  local first = first_due()
  if first < 0 or first > NOW then
    return first
  end
  local items, gone, lists = {}, {}, {}
  for at, field in ipairs(call('ZRANGEBYSCORE', parked, '-inf', NOW, 'LIMIT', 0, 100)) do
    local value = call('HGET', UNACKED, field)
    if value then
      local list, base, raw = parked_parts(field, value)
      if lists[list] == nil then
        lists[list] = is_list(list)
      end
      if lists[list] then
        items[#items + 1] = { at, list, base, raw }
        gone[#gone + 1] = field
      else
        call('ZADD', parked, NOW + 10000, field)
      end
    else
      gone[#gone + 1] = field -- kombu restored it
    end
  end
  give_back(items)
  if #gone > 0 then
    call('HDEL', UNACKED, unpack(gone))
    call('ZREM', INDEX, unpack(gone))
    call('ZREM', parked, unpack(gone))
  end
  return first_due()
end

-- Forget dead letters that have expired, a bounded number; what lists them ends with the last of them.
local function tidy_dead()
  local dead, ends = P .. 'dead', P .. 'dead-ends'
  local over = call('ZRANGEBYSCORE', ends, '-inf', NOW, 'LIMIT', 0, CHUNK)
  if #over > 0 then
    call('ZREM', dead, unpack(over))
    call('ZREM', ends, unpack(over))
  end
  local last = call('ZRANGE', ends, -1, -1, 'WITHSCORES')[2]
  for _, key in ipairs({ dead, ends }) do
    if last == 'inf' then
      call('PERSIST', key)
    elseif last then
      call('PEXPIREAT', key, number(tonumber(last)))
    end
  end
end

-- Delete a dead letter: 1 if it was there.
local function delete_dead(key)
  call('ZREM', P .. 'dead', key)
  call('ZREM', P .. 'dead-ends', key)
  return call('DEL', P .. 'dead:' .. key)
end
