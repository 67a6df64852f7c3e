-- Say that a connection is about to wait for a list by BLMOVE, which follows in the same packet.

-- Note what the BLMOVE brings. Whether the owner is there; of one that was taken for dead it is looked after.
local function expect(owner, list, prefix)
  call('SADD', P .. 'inboxes:' .. owner, list)
  if not prefix then
    --#include broker_graves
    bury_inboxes(owner)
  end
end

-- `list` is waited for, up to `wait` ms; the lists of all queues, those named after the queues first, are ARGV from `first`.
-- Answer: 0 if there is nothing, 1 if the list to wait for has something, so that the BLMOVE ends by itself, 2 if there
-- is something elsewhere; how many ms the owner's leases last; and in how many ms the next parked message is due (-1:
-- there is none).
local function announce(owner, connection, list, wait, first)
  local function note(key)
    if NOW % 8 == 0 then -- of those that died while they waited, which costs others a vain call for as long as it stands
      call('ZREMRANGEBYSCORE', key, '-inf', NOW - 5000)
    end
    call('ZADD', key, NOW + wait, connection)
    call('PEXPIRE', key, wait + 10000)
  end

  local queues = (#ARGV - first + 1) / STEPS
  local due = call('ZRANGE', P .. 'parked', 0, 0, 'WITHSCORES')[2]
  due = due and math.ceil(tonumber(due)) - NOW
  note(P .. 'blocked:' .. list)
  for at = first, first + queues - 1 do -- the base of each queue
    note(P .. 'bell:' .. ARGV[at])
    if ARGV[at] ~= list then
      note(P .. 'far:' .. ARGV[at])
    end
    -- For twice as long, so that who waits next need not say it again; and the key for longer than any of them, whoever
    -- sets it last.
    if tonumber(call('ZSCORE', P .. 'bells', ARGV[at]) or 0) < NOW + wait then
      call('ZADD', P .. 'bells', 'GT', NOW + 2 * wait, ARGV[at])
      call('PEXPIRE', P .. 'bells', 2 * wait + 60000)
    end
  end
  local left = math.floor(tonumber(call('ZSCORE', P .. 'owners', owner) or 0) - NOW)
  local there = due and due <= 0
  for at = first, #ARGV, CHUNK do
    there = there or call('EXISTS', unpack(ARGV, at, math.min(at + CHUNK - 1, #ARGV))) > 0
  end
  local code = 0
  if there then
    code = call('EXISTS', list) == 1 and 1 or 2
  end
  return { code, left, due and math.max(due, 0) or -1 }
end
