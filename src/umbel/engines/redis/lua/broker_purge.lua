--#include broker_common
-- Delete lists; how many messages were on them. ARGV from 7: lists.

local deleted = 0
for at = 7, #ARGV do
  deleted = deleted + call('LLEN', ARGV[at])
  call('UNLINK', ARGV[at])
end
return deleted
