-- What the scripts of the broker share.
--
-- ARGV of each script that includes this file begins with
--   1 prefix of umbel's own keys      2 kombu's hash of unacked messages    3 kombu's index of it
--   4 visibility timeout in seconds   5 separator of queue and priority     6 length of kombu's key prefix
-- and goes on from 7.
--
-- Keys of our own, all below the prefix:
--   owners             zset   owner -> end of its leases in ms; 0 for who has left
--   owner:ID           hash   node, host, pid; p: prefix of its keys, n: the last number of a key
--   node:NODE          set    the owners that a node renews
--   held:ID            hash   key -> one character for how it is held, the list, and the envelope
--   inboxes:ID         set    the lists that an owner may be waiting for
--   inbox:ID:LIST      list   what a waiting owner was given by BLMOVE, and has not seen
--   graves             zset   owners that were reclaimed, until when a late BLMOVE may still arrive
--   blocked:LIST       zset   connections that wait for a list, until when
--   bell:QUEUE         zset   connections that wait for any list of a queue, until when
--   parked             zset   fields in kombu's unacked hash that are ours -> due, in ms
--   dead, dead:KEY     zset, hash   dead letters by the time they died
--   tags:N             set    tags of the publishes of half a minute
--   queues             zset   names of queues -> last use
--   consumed           string that somebody consumed here
--
-- Envelopes are never decoded here. What umbel knows about one stands in front of it as its first key:
--   {"umbel": [deliveries, crashes], "body": ...   or with a third number, the second at which it is due

local P, UNACKED, INDEX, VISIBILITY, SEP = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local KEYPREFIX = tonumber(ARGV[6])
-- Lua's `unpack` has a limit of about 8,000 values, and an error half-way would not be rolled back.
local CHUNK = 1000
local OURS = '^{"umbel": %[(%d+), (%d+),? ?([%d.]*)%], ()'
local DAY = 86400

local call = redis.call

local time = call('TIME')
local NOW_US = tonumber(time[1]) * 1000000 + tonumber(time[2])
local NOW = math.floor(NOW_US / 1000)

local function number(value)
  return string.format('%.0f', value)
end

-- Run a command with any number of values, in chunks.
local function with_all(command, key, values)
  for first = 1, #values, CHUNK do
    call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end

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

-- An envelope with other numbers. What is not a JSON object stays as it is.
local function marked(raw, more_count, more_crashes)
  if string.byte(raw, 1) ~= 123 then
    return raw
  end
  local count, crashes, due, rest = parted(raw)
  count, crashes = count + more_count, crashes + more_crashes
  if count == 0 and crashes == 0 then
    return '{' .. rest
  end
  return '{"umbel": [' .. number(count) .. ', ' .. number(crashes) .. '], ' .. rest
end

local function queue_of(list)
  local last = nil
  local from = 1
  while true do
    local first, stop = string.find(list, SEP, from, true)
    if not first then
      break
    end
    last, from = first, stop + 1
  end
  if last and string.match(list, '^%d+$', last + #SEP) then
    return string.sub(list, 1, last - 1)
  end
  return list
end

-- Connections that the caller has to wake by CLIENT UNBLOCK, and how many messages came to which lists.
local rings, arrived, arrived_lists = {}, {}, {}

local function arrive(list, count)
  if not arrived[list] then
    arrived[list] = 0
    arrived_lists[#arrived_lists + 1] = list
  end
  arrived[list] = arrived[list] + count
end

-- Note `count` connections to wake that wait for any list of the queue.
local function ring(list, count)
  local bell = P .. 'bell:' .. queue_of(list)
  local waiting = call('ZRANGEBYSCORE', bell, NOW, '+inf', 'LIMIT', 0, math.min(count, CHUNK))
  if #waiting > 0 then
    call('ZREM', bell, unpack(waiting))
    for _, connection in ipairs(waiting) do
      rings[#rings + 1] = connection
    end
  end
end

-- Note whom to wake for all that arrived and is still there.
local function ring_all()
  for _, list in ipairs(arrived_lists) do
    local count = math.min(arrived[list], call('LLEN', list))
    -- Who waits for this very list is woken by the server.
    if count > 0 and call('ZCOUNT', P .. 'blocked:' .. list, NOW, '+inf') < count then
      ring(list, count)
    end
  end
  return rings
end

-- A held message: E for what was marked early, else L; the length of the list's name, the name, the envelope.
local function label(list)
  return 'L' .. #list .. ':' .. list
end

local function held_parts(value)
  local length, start = string.match(value, '^.(%d+):()')
  start = tonumber(start)
  local stop = start + tonumber(length)
  return string.sub(value, start, stop - 1), string.sub(value, stop), string.byte(value, 1) == 69
end

-- Put envelopes back in front of their lists. `items` are {n, list, raw}; the lowest n is delivered first.
local function give_back(items)
  table.sort(items, function(one, other) return one[1] > other[1] end)
  local by_list, lists = {}, {}
  for _, item in ipairs(items) do
    local values = by_list[item[2]]
    if not values then
      values = {}
      by_list[item[2]] = values
      lists[#lists + 1] = item[2]
    end
    values[#values + 1] = item[3]
  end
  for _, list in ipairs(lists) do
    with_all('RPUSH', list, by_list[list])
    arrive(list, #by_list[list])
  end
end

-- The number within a key, by which what was fetched first goes back first.
local function place(key)
  return tonumber(string.match(key, '%.(%d+)$')) or 0
end

-- Give back what waiting left in the inboxes of an owner.
local function empty_inboxes(owner)
  for _, list in ipairs(call('SMEMBERS', P .. 'inboxes:' .. owner)) do
    local inbox = P .. 'inbox:' .. owner .. ':' .. list
    local found = call('LRANGE', inbox, 0, -1)
    if #found > 0 then
      -- BLMOVE put the latest in front.
      with_all('RPUSH', list, found)
      call('DEL', inbox)
      arrive(list, #found)
    end
  end
end

-- Keep looking after the inboxes of an owner that is gone, for as long as a late BLMOVE may arrive.
local function bury_inboxes(owner)
  local inboxes = P .. 'inboxes:' .. owner
  if call('EXISTS', inboxes) == 1 then
    call('ZADD', P .. 'graves', NOW + 60000, owner)
    call('EXPIRE', inboxes, 300)
    call('EXPIRE', P .. 'graves', 300)
  end
end

-- Keep an envelope until it is due, where kombu would find it, too: its entry of the unacked hash says from
-- which exchange ('', the default one) and with which key (the queue's name) it came.
local function park(id, list, raw, due)
  local field = 'umbel:' .. #raw .. ':' .. #list .. ':' .. list .. ':' .. id
  local queue = string.sub(queue_of(list), KEYPREFIX + 1)
  call('HSET', UNACKED, field, '[' .. raw .. ', "", ' .. cjson.encode(queue) .. ']')
  call('ZADD', INDEX, string.format('%.3f', due - VISIBILITY), field)
  call('ZADD', P .. 'parked', number(math.ceil(due * 1000)), field)
  if due * 1000 < NOW + 1000 then
    ring(list, 1) -- somebody has to sleep for less than a second
  end
end

-- Put a publication where it belongs, unless its tag is known.
-- As long as nobody is there who returns what is due, it goes to its list at once: Celery's workers keep the
-- time by themselves, and ours see the number in front.
local BUCKET = math.floor(NOW / 30000)
local TAGS, TAGS_BEFORE = P .. 'tags:' .. BUCKET, P .. 'tags:' .. (BUCKET - 1)
local tags_end = false

local function publish(list, tag, due, raw)
  if call('SISMEMBER', TAGS_BEFORE, tag) == 1 or call('SADD', TAGS, tag) == 0 then
    return
  end
  if not tags_end then
    tags_end = true
    call('EXPIRE', TAGS, 90)
  end
  if due and due * 1000 > NOW then
    if call('ZCOUNT', P .. 'owners', NOW, '+inf') > 0 then
      park(tag, list, raw, due)
      return
    end
    raw = '{"umbel": [0, 0, ' .. string.format('%.3f', due) .. '], ' .. string.sub(raw, 2)
  end
  call('LPUSH', list, raw)
  arrive(list, 1)
end

-- The list and the envelope of a parked message.
local function parked_parts(field, value)
  local length, named, start = string.match(field, '^umbel:(%d+):(%d+):()')
  local list = string.sub(field, start, start + tonumber(named) - 1)
  return list, string.sub(value, 2, 1 + tonumber(length))
end

-- Return parked messages that are due to their lists, a bounded number; when the next is due, or -1.
local function return_due()
  local parked = P .. 'parked'
  local first = call('ZRANGE', parked, 0, 0, 'WITHSCORES')
  if #first == 0 then
    return -1
  end
  if tonumber(first[2]) > NOW then
    return tonumber(first[2])
  end
  local due = call('ZRANGEBYSCORE', parked, '-inf', NOW, 'LIMIT', 0, 100)
  local items = {}
  for place_in_time, field in ipairs(due) do
    local value = call('HGET', UNACKED, field)
    if value then -- else kombu restored it
      items[#items + 1] = { place_in_time, parked_parts(field, value) }
    end
  end
  call('HDEL', UNACKED, unpack(due))
  call('ZREM', INDEX, unpack(due))
  call('ZREM', parked, unpack(due))
  give_back(items)
  first = call('ZRANGE', parked, 0, 0, 'WITHSCORES')
  return #first == 0 and -1 or tonumber(first[2])
end

-- Remember the names of queues for as long as they are used.
local function note_queues(first, count)
  if count > 0 then
    local names = P .. 'queues'
    for at = first, first + count - 1 do
      call('ZADD', names, NOW, ARGV[at])
    end
    call('ZREMRANGEBYSCORE', names, '-inf', NOW - 30 * DAY * 1000)
    call('EXPIRE', names, 30 * DAY)
  end
end
