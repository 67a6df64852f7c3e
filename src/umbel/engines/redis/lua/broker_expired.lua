--#include broker_common
--#include broker_silence
-- The owners whose leases have ended: id, node, host and pid of each; nobody while all may still renew theirs. And the
-- connections to wake. ARGV from 7: how the names of a queue's lists go on behind its base.
--
-- Every node asks this once a second, so it also sees to what nobody rings for: what Celery's clients put on another
-- list than the one that somebody waits for, what is due while nobody knows of it, and rings that were lost.

begin()
return_due()
call('ZREMRANGEBYSCORE', P .. 'bells', '-inf', NOW)
for _, base in ipairs(call('ZRANGE', P .. 'bells', 0, -1)) do
  for at = 7, #ARGV do
    local list = base .. ARGV[at]
    local length = redis.pcall('LLEN', list)
    if type(length) == 'number' and length > 0 then
      ring(list, #base, length)
    end
  end
end
if heard() > NOW then
  return { {}, ring_all() }
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
return { found, ring_all() }
