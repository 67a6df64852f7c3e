--#include broker_common
-- Publish messages, all or none; the connections to wake.
-- ARGV from 7: number of queue names to note, the names; then of each message its list, tag, due ('' for at
-- once) and envelope.

local notes = tonumber(ARGV[7])
local first = 8 + notes

-- Everything is checked before anything is written: a list whose key holds something else raises here.
local seen = {}
for at = first, #ARGV, 4 do
  if not seen[ARGV[at]] then
    seen[ARGV[at]] = true
    call('LLEN', ARGV[at])
  end
end

note_queues(8, notes)

for at = first, #ARGV, 4 do
  publish(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3])
end
return ring_all()
