-- Keeps what shared rooms shall show when it is due. KEYS: queue.
-- ARGV: 1 publications that wait at most (over it the first due go), then pairs of delay_ms and a
-- packed publication; one that waits already keeps its time.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 2, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], 'NX', now + tonumber(ARGV[i]), ARGV[i + 1])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[1]) - 1)
