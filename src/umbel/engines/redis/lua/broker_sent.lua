-- Tell whether the last that a connection pushed (pushing.py) was this; if it was not, see to it that it never will be.
-- ARGV from 7: the connection's record, the tag. Answer: 1 or 0.
--
-- The connection watches its record, so a packet of it that is still on its way does nothing now. An hour is longer than
-- any network keeps one.

if redis.call('GET', ARGV[7]) == ARGV[8] then
  return 1
end
redis.call('SET', ARGV[7], '', 'EX', 3600)
return 0
