-- Reads recent events of a room, oldest first.
-- KEYS: meta, events. ARGV: 1 epoch of the reader or '', 2 offset of the reader, 3 limit.
-- With a current epoch: the first `limit` events after the offset; else the newest `limit`.
-- Returns {epoch or '', first offset, events}.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if not meta[1] then
  return {'', 1, {}}
end
local count = redis.call('LLEN', KEYS[2])
local first = tonumber(meta[2]) - count + 1
local limit = tonumber(ARGV[3])
local start = math.max(count - limit, 0)
if ARGV[1] == meta[1] then
  start = math.max(tonumber(ARGV[2]) - first + 1, 0)
end
return {meta[1], first + start, redis.call('LRANGE', KEYS[2], start, start + limit - 1)}
