--#include broker_base
-- 1 if anybody consumed here within the last thirty days.
return call('EXISTS', P .. 'consumed')
