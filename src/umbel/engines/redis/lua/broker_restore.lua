--#include broker_common
-- Return one message that a Celery worker held to its lists, unless the entry has changed.
-- ARGV from 7: field, its value, the envelope, then the lists. Answer: 1 or 0, and the connections to wake.

if call('HGET', UNACKED, ARGV[7]) ~= ARGV[8] then
  return { 0, {} }
end
for at = 10, #ARGV do
  call('LLEN', ARGV[at]) -- raises for a key that is no list
end
call('HDEL', UNACKED, ARGV[7])
call('ZREM', INDEX, ARGV[7])
for at = 10, #ARGV do
  call('RPUSH', ARGV[at], ARGV[9])
  arrive(ARGV[at], 1)
end
return { 1, ring_all() }
