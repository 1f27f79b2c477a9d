-- Gives one event the room's next offset, keeps it in the history and publishes it; once per event.
-- KEYS: meta, events, document, ids of one room (all hash-tagged by the room).
-- ARGV: 1 epoch to use if the room is new, 2 body (bytes), 3 event id or '', 4 stream or '',
--       5 live_seq, 6 document after this event or '', 7 epoch that the caller expects or '',
--       8 history_max, 9 ttl_ms, 10 ids_max (0: all, as long as the room lives), 11 channel
-- Returns {'published' | 'duplicate' | 'new_epoch', epoch, offset}.
-- 'new_epoch': nothing was done, because the room lost its document: the caller publishes that first.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'offset', 's:' .. ARGV[4])
local epoch = meta[1]
local fresh = (not epoch) or meta[2] ~= run
if ARGV[7] ~= '' and (fresh or epoch ~= ARGV[7]) then
  return {'new_epoch', epoch or '', 0}
end
if fresh then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  epoch = ARGV[1]
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
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[8]), -1)
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
end
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[9])
redis.call('PUBLISH', ARGV[11], epoch .. ':' .. offset .. ':' .. ARGV[2])
return {'published', epoch, offset}
