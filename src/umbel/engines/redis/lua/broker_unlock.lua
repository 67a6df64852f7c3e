-- Give a lock back that is still held with this token. KEYS: the lock. ARGV: the token.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
