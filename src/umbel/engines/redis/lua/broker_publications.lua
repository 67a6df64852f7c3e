-- Publishing. Needs broker_base.lua and broker_arrivals.lua.

-- Raise an error where nothing can be parked.
local function check_parking()
  call('HLEN', UNACKED)
  call('ZCARD', INDEX)
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
-- time by themselves, and ours see the number in front. Not where Celery's cannot be: there VISIBILITY is 0.
local BUCKET = math.floor(NOW / 30000)
local TAGS, TAGS_BEFORE = P .. 'tags:' .. BUCKET, P .. 'tags:' .. BUCKET - 1
local in_work, tags_end = {}, false

-- A tag is known (note_tag) once what it stands for is where it belongs. Where that is refused (a user who may not write
-- to all keys), whoever repeats the call is told so again, and it is not taken for done.
local function is_new(tag)
  if in_work[tag] or call('SISMEMBER', TAGS, tag) == 1 or call('SISMEMBER', TAGS_BEFORE, tag) == 1 then
    return false
  end
  in_work[tag] = true
  return true
end

local function note_tag(tag)
  call('SADD', TAGS, tag)
  if not tags_end then
    tags_end = true
    call('EXPIREAT', TAGS, (BUCKET + 2) * 30) -- when nobody asks for it any more
  end
end

local function publish(list, base, tag, due, raw)
  if not is_new(tag) then
    return
  end
  local parked = false
  if due and due * 1000 > NOW then
    if VISIBILITY == 0 or call('ZCOUNT', P .. 'owners', NOW, '+inf') > 0 then
      park(tag, list, base, raw, due)
      parked = true
    else
      raw = '{"umbel": [0, 0, ' .. string.format('%.3f', due) .. '], ' .. string.sub(raw, 2)
    end
  end
  if not parked then
    call('LPUSH', list, raw)
    arrive(list, base, 1)
  end
  note_tag(tag)
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
