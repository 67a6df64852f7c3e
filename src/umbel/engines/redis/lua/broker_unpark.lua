--#include broker_common
-- Delete parked messages; how many there were. ARGV from 7: their fields.

local deleted = 0
for at = 7, #ARGV do
  call('ZREM', P .. 'parked', ARGV[at])
  call('ZREM', INDEX, ARGV[at])
  deleted = deleted + call('HDEL', UNACKED, ARGV[at])
end
return deleted
