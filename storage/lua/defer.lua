-- Keeps what shared rooms shall show when it is due. KEYS: queue, time of the last that came.
-- ARGV: 1 publications that wait at most (over it the first due go), then pairs of delay_ms and a
-- packed publication; one that waits already keeps its time.
-- Times are microseconds, and each is after the one before it, so that they leave in the order in
-- which they came. A clock that was put back by more than a second begins anew.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
local at = now
if last > now and last < now + 1000000 then
  at = last
end
for i = 2, #ARGV, 2 do
  at = at + 1
  redis.call('ZADD', KEYS[1], 'NX', at + tonumber(ARGV[i]) * 1000, ARGV[i + 1])
end
redis.call('SET', KEYS[2], string.format('%.0f', at))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[1]) - 1)
