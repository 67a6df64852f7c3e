--#include broker_base
--#include broker_arrivals
-- The connections to wake for messages that were put on a list (pushing.py). ARGV from 7: the list, the length of its
-- base, how many.

arrive(ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]))
return ring_all()
