--#include broker_common
-- Delete dead letters; how many there were. ARGV from 7: keys.

local count = 0
for at = 7, #ARGV do
  count = count + delete_dead(ARGV[at])
end
tidy_dead()
return count
