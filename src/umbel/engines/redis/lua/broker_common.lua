-- What the scripts of the broker share.
--
-- ARGV of each script that includes this file begins with
--   1 prefix of umbel's own keys      2 kombu's hash of unacked messages    3 kombu's index of it
--   4 visibility timeout in seconds   5 number of the lists of a queue      6 length of kombu's key prefix
-- and goes on from 7.
--
-- A queue has a list for each priority that is kept apart; the first is named after the queue alone (its
-- base), and the names of the others go on behind that. Names are never taken apart to find the queue, since
-- a queue may be called what a list of another one is: beside each list goes the length of its base.
--
-- Keys of our own, all below the prefix:
--   owners             zset   owner -> end of its leases in ms; 0 for who has left
--   owner:ID           hash   node, host, pid; p: prefix of its keys, n: the last number of a key
--   node:NODE          set    the owners that a node renews
--   held:ID            hash   key -> one character for how it is held, the list and its base, and the envelope
--   inboxes:ID         set    the lists that an owner may be waiting for
--   inbox:ID:LIST      list   what a waiting owner was given by BLMOVE, and no script has leased yet
--   graves             zset   owners that were reclaimed, until when a late BLMOVE may still arrive
--   blocked:LIST       zset   connections that wait for a list, until when
--   bell:BASE          zset   connections that wait for any list of a queue, until when
--   bells              zset   bases of the queues that somebody waits for, until when
--   parked             zset   fields in kombu's unacked hash that are ours -> due, in ms
--   dead, dead:KEY     zset, hash   dead letters by the time they died
--   dead-ends          zset   dead letters by when they expire, in ms, or inf
--   tags:N             set    tags of the publishes of half a minute
--   queues             zset   names of queues -> last use
--   consumed           string that somebody consumed here
--   watch              hash   last: when a node was heard; ttl of its leases; mercy: until when nobody is dead
--
-- Envelopes are never decoded here. What umbel knows about one stands in front of it as its first key:
--   {"umbel": [deliveries, crashes], "body": ...   or with a third number, the second at which it is due

local P, UNACKED, INDEX, VISIBILITY = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local STEPS, KEYPREFIX = tonumber(ARGV[5]), tonumber(ARGV[6])
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

-- An error half-way rolls nothing back, so everything is read and checked first, and what is deleted is
-- deleted last.

-- Raise an error for a key that is no list.
local checked = {}
local function check(list)
  if not checked[list] then
    checked[list] = true
    call('LLEN', list)
  end
end

-- Raise an error where nothing can be parked.
local function check_parking()
  call('HLEN', UNACKED)
  call('ZCARD', INDEX)
end

local function is_list(key)
  return type(redis.pcall('LLEN', key)) == 'number'
end

-- Begin to write, also where all memory is used (maxmemory). Redis then refuses a command that may need more,
-- but only as a script's first write; behind one that it never refuses it lets a script finish. Scripts that
-- keep leases and empty the queues begin with such a one: else a full server could not be emptied. Those that
-- bring more do not.
local function begin()
  call('DEL', P .. 'nothing')
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

-- Connections that the caller has to wake by CLIENT UNBLOCK, and how many messages came to which lists.
local rings, arrived, arrived_lists, bases = {}, {}, {}, {}

local function arrive(list, base, count)
  if not arrived[list] then
    arrived[list] = 0
    arrived_lists[#arrived_lists + 1] = list
  end
  bases[list] = base
  arrived[list] = arrived[list] + count
end

-- Note `count` connections to wake that wait for any list of the queue.
local function ring(list, base, count)
  local bell = P .. 'bell:' .. string.sub(list, 1, base)
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
      ring(list, bases[list], count)
    end
  end
  return rings
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
          found[index] = marked(raw, 1, 0)
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

-- Keep looking after the inboxes of an owner that is gone, for as long as a late BLMOVE may arrive.
local function bury_inboxes(owner)
  local inboxes = P .. 'inboxes:' .. owner
  if call('EXISTS', inboxes) == 1 then
    call('ZADD', P .. 'graves', NOW + 60000, owner)
    call('EXPIRE', inboxes, 300)
    call('EXPIRE', P .. 'graves', 300)
  end
end

-- What BLMOVE gave a waiting owner is leased by that: the owner may run it, under the next key that it would get. It
-- tells so to the next script that it calls, which writes it down as held: the number in that key, or 0 for nothing,
-- and the list it waited for. To be told twice changes nothing. Of an owner that is gone it goes back, told that it may
-- have started: whoever emptied the server has deleted what says where to look, too.
local function take_in(owner, nth, list)
  if nth == 0 then
    return
  end
  local prefix, last = unpack(call('HMGET', P .. 'owner:' .. owner, 'p', 'n'))
  if not prefix then
    begin()
    call('SADD', P .. 'inboxes:' .. owner, list)
    empty_inboxes(owner, true)
    bury_inboxes(owner)
    return
  end
  local inbox = P .. 'inbox:' .. owner .. ':' .. list
  local raw = tonumber(last or 0) + 1 == nth and call('LINDEX', inbox, -1)
  if raw then
    begin()
    call('HSET', P .. 'held:' .. owner, prefix .. '.' .. number(nth), label(list, #list) .. raw)
    call('HSET', P .. 'owner:' .. owner, 'n', number(nth))
    call('RPOP', inbox)
  end
end

-- When the next parked message is due in ms, or -1.
local function first_due()
  local first = call('ZRANGE', P .. 'parked', 0, 0, 'WITHSCORES')
  return #first == 0 and -1 or tonumber(first[2])
end

-- Keep an envelope until it is due, where kombu would find it, too: its entry of the unacked hash says from
-- which exchange ('', the default one) and with which key (the queue's name) it came.
local function park(id, list, base, raw, due)
  local field = 'umbel:' .. #raw .. ':' .. #list .. ':' .. base .. ':' .. list .. ':' .. id
  local queue = string.sub(list, KEYPREFIX + 1, base)
  local due_ms, first = math.ceil(due * 1000), first_due()
  call('HSET', UNACKED, field, '[' .. raw .. ', "", ' .. cjson.encode(queue) .. ']')
  call('ZADD', INDEX, string.format('%.3f', due - VISIBILITY), field)
  call('ZADD', P .. 'parked', number(due_ms), field)
  if first < 0 or due_ms < first then
    ring(list, base, 1) -- somebody has to wake up sooner
  end
end

-- Put a publication where it belongs, unless its tag is known.
-- As long as nobody is there who returns what is due, it goes to its list at once: Celery's workers keep the
-- time by themselves, and ours see the number in front.
local BUCKET = math.floor(NOW / 30000)
local TAGS, TAGS_BEFORE = P .. 'tags:' .. BUCKET, P .. 'tags:' .. (BUCKET - 1)
local tags_end = false

local function publish(list, base, tag, due, raw)
  if call('SISMEMBER', TAGS_BEFORE, tag) == 1 or call('SADD', TAGS, tag) == 0 then
    return
  end
  if not tags_end then
    tags_end = true
    call('PEXPIREAT', TAGS, number((BUCKET + 2) * 30000)) -- when nobody asks for it any more
  end
  if due and due * 1000 > NOW then
    if call('ZCOUNT', P .. 'owners', NOW, '+inf') > 0 then
      park(tag, list, base, raw, due)
      return
    end
    raw = '{"umbel": [0, 0, ' .. string.format('%.3f', due) .. '], ' .. string.sub(raw, 2)
  end
  call('LPUSH', list, raw)
  arrive(list, base, 1)
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
