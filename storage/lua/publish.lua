-- Gives one event the room's next offset, keeps it in the history and publishes it; once per event.
-- KEYS: meta, events, document, ids, times, documents of one room (all hash-tagged by the room).
-- ARGV: 1 epoch to use if the room is new, 2 body (bytes), 3 event id or '', 4 stream or '',
--       5 live_seq, 6 document after this event or '', 7 epoch that the caller expects or '',
--       8 history_max, 9 ttl_ms, 10 ids_max (0: all, as long as the room lives), 11 channel,
--       12 spectator delay of the match in s, '' where the caller says nothing about it,
--       13 ms that a delayed room keeps beyond its delay, 14 events that it keeps at most,
--       15 ms between two documents that it keeps
-- Returns {'published' | 'duplicate' | 'new_epoch', epoch, offset}.
-- 'new_epoch': nothing was done, because the room lost its document: the caller publishes that first.
-- An event with a delay is dated by this server's clock, never backwards; one without is due at once.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'offset', 's:' .. ARGV[4],
  'delay', 'at', 'document_at')
local epoch = meta[1]
local fresh = (not epoch) or meta[2] ~= run
if ARGV[7] ~= '' and (fresh or epoch ~= ARGV[7]) then
  return {'new_epoch', epoch or '', 0}
end
if fresh then
  redis.call('DEL', unpack(KEYS))
  epoch = ARGV[1]
  meta[5], meta[6], meta[7] = false, false, false
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', run, 'offset', 0)
else
  if ARGV[3] ~= '' and redis.call('ZSCORE', KEYS[4], ARGV[3]) then
    return {'duplicate', epoch, tonumber(meta[3])}
  end
  if ARGV[4] ~= '' and meta[4] and tonumber(ARGV[5]) <= tonumber(meta[4]) then
    return {'duplicate', epoch, tonumber(meta[3])}
  end
end
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
redis.call('RPUSH', KEYS[2], ARGV[2])
if ARGV[12] ~= '' and meta[5] ~= ARGV[12] then
  redis.call('HSET', KEYS[1], 'delay', ARGV[12])
  meta[5] = ARGV[12]
end
local delay_ms = (tonumber(ARGV[12]) or 0) * 1000
local at = 0
if delay_ms > 0 then
  local time = redis.call('TIME')
  at = math.max(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), tonumber(meta[6] or 0))
  redis.call('HSET', KEYS[1], 'at', at)
  redis.call('ZADD', KEYS[5], at, offset)
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', '(' .. (at - delay_ms - tonumber(ARGV[13])))
  redis.call('PEXPIRE', KEYS[5], ARGV[9])
  local first = tonumber(redis.call('ZRANGE', KEYS[5], 0, 0)[1])
  local kept = math.max(offset - first + 1, tonumber(ARGV[8]))
  redis.call('LTRIM', KEYS[2], -math.min(kept, tonumber(ARGV[14])), -1)
elseif (tonumber(meta[5] or 0)) == 0 then
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[8]), -1)
end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[4], offset, ARGV[3])
  if ARGV[10] ~= '0' then
    redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -tonumber(ARGV[10]) - 1)
  end
  redis.call('PEXPIRE', KEYS[4], ARGV[9])
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 's:' .. ARGV[4], ARGV[5])
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[9])
  redis.call('HSET', KEYS[1], 'document_offset', offset)
  local every_ms = tonumber(ARGV[15])
  if delay_ms > 0 and at - tonumber(meta[7] or 0) >= every_ms then
    redis.call('ZADD', KEYS[6], offset, offset .. ':' .. ARGV[6])
    redis.call('HSET', KEYS[1], 'document_at', at)
    -- They are at least `every_ms` apart, so that these many reach back far enough.
    local kept = math.ceil((delay_ms + tonumber(ARGV[13])) / every_ms) + 2
    redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -kept - 1)
    redis.call('PEXPIRE', KEYS[6], ARGV[9])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[9])
redis.call('PUBLISH', ARGV[11], epoch .. ':' .. offset .. ':' .. ARGV[2])
return {'published', epoch, offset}
