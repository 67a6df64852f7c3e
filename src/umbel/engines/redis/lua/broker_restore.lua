--#include broker_common
-- Return one message that a Celery worker held to its lists, unless the entry has changed.
-- ARGV from 7: field, its value, the envelope, then the lists, each with the length of its base.
-- Answer: 1 or 0, and the connections to wake.

if call('HGET', UNACKED, ARGV[7]) ~= ARGV[8] then
  return { 0, {} }
end
for at = 10, #ARGV, 2 do
  check(ARGV[at])
end
begin()
for at = 10, #ARGV, 2 do
  call('RPUSH', ARGV[at], ARGV[9])
  arrive(ARGV[at], tonumber(ARGV[at + 1]), 1)
end
call('HDEL', UNACKED, ARGV[7])
call('ZREM', INDEX, ARGV[7])
return { 1, ring_all() }
