-- Takes a lease of tokens from one user's bucket; the rule of hub/bucket.py, on Redis' own clock.
-- KEYS: the bucket (a hash of level and time).
-- ARGV: 1 tokens per second, 2 burst, 3 tokens wanted, 4 unused tokens that come back
-- Returns {tokens granted, ms until there is a token (0 when some were granted)}.
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local bucket = redis.call('HMGET', KEYS[1], 'level', 'at_ms')
local level = tonumber(bucket[1] or burst)
local gone_ms = math.max(now_ms - tonumber(bucket[2] or now_ms), 0)
level = math.min(burst, level + gone_ms * rate / 1000)
level = math.min(burst, level + tonumber(ARGV[4]))
local granted = 0
if level >= 1 then
  granted = math.min(tonumber(ARGV[3]), math.max(1, math.floor(level / 2)))
end
level = level - granted
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at_ms', string.format('%.0f', now_ms))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
if granted > 0 then
  return {granted, 0}
end
return {0, math.ceil((1 - level) / rate * 1000)}
