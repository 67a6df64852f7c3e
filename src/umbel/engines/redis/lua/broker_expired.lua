--#include broker_common
--#include broker_silence
-- The owners whose leases have ended: id, node, host and pid of each; nobody while all may still renew theirs. Then the
-- connections to wake, 0 where the server did not know of any node, and the version of what is revoked. ARGV from 7: how the names of a queue's lists
-- go on behind its base.
--
-- Every node asks this once a second, so it also sees to what nobody rings for: what Celery's clients put on another
-- list than the one that somebody waits for, what is due while nobody knows of it, and rings that were lost.

-- Note `count` connections to wake for a list that has something, though all were rung for: they are noted as waiting
-- until they wait no more. Who waits for this very list is woken by the server.
local function ring_again(list, base, count)
  local named = string.sub(list, 1, base)
  for _, key in ipairs({ P .. 'far:' .. named, list ~= named and P .. 'blocked:' .. named or nil }) do
    for _, connection in ipairs(call('ZRANGEBYSCORE', key, NOW, '+inf', 'LIMIT', 0, math.min(count, CHUNK))) do
      rings[#rings + 1] = connection
    end
  end
end

begin()
return_due()
call('ZREMRANGEBYSCORE', P .. 'bells', '-inf', NOW)
for _, base in ipairs(call('ZRANGE', P .. 'bells', 0, -1)) do
  for at = 7, #ARGV do
    local list = base .. ARGV[at]
    local length = redis.pcall('LLEN', list)
    if type(length) == 'number' and length > 0 then
      local before = #rings
      ring(list, #base, length)
      if #rings == before then
        ring_again(list, #base, length)
      end
    end
  end
end
local mercy, is_known = heard()
local revocations = call('GET', P .. 'version:revoked') or 0
if mercy > NOW then
  return { {}, ring_all(), is_known, revocations }
end
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'owners', '-inf', '(' .. number(NOW), 'LIMIT', 0, CHUNK)) do
  local of = call('HMGET', P .. 'owner:' .. id, 'node', 'host', 'pid')
  if of[1] then
    found[#found + 1] = { id, of[1], of[2], of[3] }
  else
    call('ZREM', P .. 'owners', id) -- its hash was deleted by somebody else
  end
end
return { found, ring_all(), is_known, revocations }
