-- Record a part of a group. KEYS: the parts (hash), who has the claim.
-- ARGV: part, document, number of parts, who claims, time to live in ms.
-- Answer: 1 if all parts are there and the claim is the caller's, else 0.
-- Parts belong to what empties a full server, so the first write is one that it never refuses.
redis.call('DEL', KEYS[1] .. ':nothing')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('HLEN', KEYS[1]) < tonumber(ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[4], 'NX')
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return redis.call('GET', KEYS[2]) == ARGV[4] and 1 or 0
