-- Notice that nobody could renew leases for a while, because the server was frozen, restarted or cut off.
-- Leases end by its clock meanwhile, and the first node that it answers again would take away what all others
-- hold. So every node is then given the time of a lease to renew its own.
--
-- Any node renews several times in the time of a lease, and asks for what has expired about once a second.

local WATCH = P .. 'watch'

-- Note that a node was heard; until when nobody may be taken for dead, in ms, and 1 if any was heard before. `ttl` is
-- that of its leases in ms, or nothing where it does not say.
local function heard(ttl)
  local last, known, mercy, asked = unpack(call('HMGET', WATCH, 'last', 'ttl', 'mercy', 'asked'))
  known, mercy = tonumber(known), tonumber(mercy or 0)
  if not (ttl or known) then
    local is_new = call('HSETNX', WATCH, 'asked', 1) -- nobody has ever renewed
    call('EXPIRE', WATCH, DAY)
    return 0, 1 - is_new
  end
  ttl = math.min(ttl or known, known or ttl) -- the shortest leases end first
  if last and NOW - tonumber(last) > ttl * 2 / 3 then
    mercy = NOW + ttl
  end
  call('HSET', WATCH, 'last', NOW, 'ttl', ttl, 'mercy', number(mercy))
  call('EXPIRE', WATCH, DAY)
  return mercy, (last or asked) and 1 or 0
end
