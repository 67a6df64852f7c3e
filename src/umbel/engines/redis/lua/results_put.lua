-- Store results and tell who listens. ARGV: the fields of each (results_common.lua).
--#include results_common
local places = {}
for first = 1, #ARGV, RESULT_FIELDS do
  places[#places + 1] = first
end
store_results(storable_results(places))
