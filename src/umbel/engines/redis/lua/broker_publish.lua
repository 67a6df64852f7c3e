--#include broker_base
--#include broker_arrivals
--#include broker_publications
-- Publish messages, all or none; the connections to wake.
-- ARGV from 7: number of queue names to note, the names; then of each message its list, the length of its base,
-- tag, due ('' for at once) and envelope.

local notes = tonumber(ARGV[7])
local first = 8 + notes

for at = first, #ARGV, 5 do
  check(ARGV[at])
  if ARGV[at + 3] ~= '' then
    check_parking()
  end
end

note_queues(8, notes)

for at = first, #ARGV, 5 do
  publish(ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4])
end
return ring_all()
