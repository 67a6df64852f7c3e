--#include broker_common
-- 1 if anybody consumed here within the last thirty days.
return call('EXISTS', P .. 'consumed')
