-- Whom to wake for messages that came to lists. Needs P, NOW, CHUNK and `call`.

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
    -- Mostly nobody waits for anything of the queue.
    if call('EXISTS', P .. 'bell:' .. string.sub(list, 1, bases[list])) == 1 then
      local count = math.min(arrived[list], call('LLEN', list))
      -- Who waits for this very list is woken by the server.
      if count > 0 and call('ZCOUNT', P .. 'blocked:' .. list, NOW, '+inf') < count then
        ring(list, bases[list], count)
      end
    end
  end
  return rings
end
