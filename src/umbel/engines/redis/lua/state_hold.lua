-- Take or prolong a lease. KEYS: the lease (hash: owner, term, ends in ms).
-- ARGV: owner, time to live in ms. Answer: the term, or nothing while another owner holds it.
--#include state_common
local found = redis.call('HMGET', KEYS[1], 'owner', 'term', 'ends')
local is_over = tonumber(found[3] or 0) <= NOW
if not is_over and found[1] ~= ARGV[1] then
  return false
end
begin()
-- An owner whose lease ran out may have been replaced for a moment: that is a new term.
local term = is_over and larger(found[2]) or found[2]
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'term', term, 'ends', text(NOW + tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], text(KEPT * 1000 + tonumber(ARGV[2])))
return term
