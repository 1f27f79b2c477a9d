-- What waited and is due, first due first, for the one worker that sees to it. Another gets nil while
-- something is due: it is published, or about to be.
-- KEYS: queue, that worker. ARGV: 1 limit, 2 the worker that asks, 3 ms that it is the one.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local one = redis.call('GET', KEYS[2])
if one and one ~= ARGV[2] then
  return redis.call('ZCOUNT', KEYS[1], '-inf', now) == 0 and {} or nil
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
