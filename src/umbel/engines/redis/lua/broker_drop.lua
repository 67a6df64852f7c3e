--#include broker_common
-- Delete dead letters; how many there were. ARGV from 7: keys.

local count = 0
for at = 7, #ARGV do
  call('ZREM', P .. 'dead', ARGV[at])
  count = count + call('DEL', P .. 'dead:' .. ARGV[at])
end
return count
