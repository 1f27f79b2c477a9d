-- Reads recent events of a room, oldest first.
-- KEYS: state (see publish.lua), events, times.
-- ARGV: 1 epoch of the reader or '', 2 offset of the reader, 3 limit, 4 '1' if the reader sees a
-- delayed room as it is now.
-- With a current epoch: the first `limit` events after the offset; else the newest `limit`.
-- Returns {epoch or '', first offset, events}.
local packed = redis.call('GET', KEYS[1])
local fine, form, _, epoch, last, delay
if packed then
  fine, form, _, epoch, last, _, delay = pcall(cmsgpack.unpack, packed)
end
if not fine or form ~= 1 then
  return {'', 1, {}}
end
local first = last - redis.call('LLEN', KEYS[2]) + 1
local delay_ms = (tonumber(delay) or 0) * 1000
if delay_ms > 0 and ARGV[4] ~= '1' then
  local time = redis.call('TIME')
  local cut = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - delay_ms
  local undue = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. cut, '+inf', 'LIMIT', 0, 1)
  if undue[1] then
    last = tonumber(undue[1]) - 1
  end
end
local limit = tonumber(ARGV[3])
local start = math.max(last - limit + 1, first)
if ARGV[1] == epoch then
  start = math.max(tonumber(ARGV[2]) + 1, first)
end
local stop = math.min(start + limit - 1, last)
if stop < start then
  return {epoch, start, {}}
end
return {epoch, start, redis.call('LRANGE', KEYS[2], start - first, stop - first)}
