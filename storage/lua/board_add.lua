-- Adds a page of places to the set that is being made; what was written through meanwhile is newer.
-- KEYS: 1 making, 2 fresh set. ARGV: 1 who makes it, 2 ms to the next sign of life, then pairs of
-- score and id. Returns 1, or 0 when another has taken over.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('ZADD', KEYS[2], 'NX', ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2] * 10)
return 1
