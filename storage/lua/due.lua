-- What waited and is due, first due first, for the one worker that sees to it; nil for another.
-- KEYS: queue, that worker. ARGV: 1 limit, 2 the worker that asks, 3 ms that it is the one.
local one = redis.call('GET', KEYS[2])
if one and one ~= ARGV[2] then
  return nil
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
