-- Keep looking after the inboxes of an owner that is gone, for as long as a late BLMOVE may arrive.
local function bury_inboxes(owner)
  local inboxes = P .. 'inboxes:' .. owner
  if call('EXISTS', inboxes) == 1 then
    call('ZADD', P .. 'graves', NOW + 60000, owner)
    call('EXPIRE', inboxes, 300)
    call('EXPIRE', P .. 'graves', 300)
  end
end
