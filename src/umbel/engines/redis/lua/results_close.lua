-- Forget a group whose claim is the caller's. KEYS: the parts, who has the claim. ARGV: the caller.
-- Answer: 1 if it was.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
