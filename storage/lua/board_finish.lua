-- Puts the set that was made in the place of the live one, and notes what that changed.
-- KEYS: 1 set, 2 marker, 3 version, 4 news, 5 making, 6 fresh set.
-- ARGV: 1 what the board is made of, 2 who made it, 3 how many of the first rows are told.
-- Returns {size, rows that changed}, or {} when another has taken over.
if redis.call('GET', KEYS[5]) ~= ARGV[2] then
  return {}
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local marker = ARGV[1] .. '|' .. run
local was, rows = {}, redis.call('ZRANGE', KEYS[1], 0, ARGV[3] - 1, 'WITHSCORES')
for i = 1, #rows, 2 do
  was[rows[i]] = (i + 1) / 2 .. ' ' .. rows[i + 1]
end
local size_was = redis.call('ZCARD', KEYS[1]) - 1
local known = redis.call('GET', KEYS[3])
local complete = known and redis.call('GET', KEYS[2]) == marker
  and redis.call('ZSCORE', KEYS[1], '')
redis.call('ZREMRANGEBYSCORE', KEYS[6], '+inf', '+inf')
redis.call('ZADD', KEYS[6], '+inf', '')
redis.call('PERSIST', KEYS[6])
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[6], KEYS[1])
redis.call('DEL', KEYS[5])
local size = redis.call('ZCARD', KEYS[1]) - 1
rows = size > 0
  and redis.call('ZRANGE', KEYS[1], 0, math.min(ARGV[3], size) - 1, 'WITHSCORES') or {}
local lines = {}
for i = 1, #rows, 2 do
  local line = (i + 1) / 2 .. ' ' .. rows[i + 1]
  if was[rows[i]] ~= line then
    lines[#lines + 1] = line .. ' ' .. rows[i]
  end
end
if #lines > 0 or size ~= size_was or not complete then
  -- Versions that an emptied Redis forgot must not come again: they never fall behind the clock.
  local version = math.max(tonumber(known or 0) + 1, now_ms)
  version = string.format('%.0f', version)
  redis.call('SET', KEYS[3], version)
  local news = version .. ' ' .. string.format('%.0f', now_ms) .. ' ' .. size
  if #lines > 0 then
    news = news .. '\n' .. table.concat(lines, '\n')
  end
  redis.call('ZADD', KEYS[4], version, news)
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -ARGV[3] - 1)
end
redis.call('SET', KEYS[2], marker)
return {size, #lines}
