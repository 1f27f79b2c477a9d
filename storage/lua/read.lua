-- Reads a room for a joiner: what it missed since its position, or the document and what follows it.
-- KEYS: meta, events, document, ids of one room.
-- ARGV: 1 epoch to use if the room is new, 2 epoch of the joiner or '', 3 offset of the joiner,
--       4 ttl_ms, 5 '1' if rooms of this kind have a document
-- Returns {epoch, offset, recovered 0|1, document_offset or -1, document or '', first offset, events}.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'offset', 'document_offset')
if (not meta[1]) or meta[2] ~= run then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'run', run, 'offset', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {ARGV[1], 0, 0, -1, '', 1, {}}
end
local offset = tonumber(meta[3])
local first = offset - redis.call('LLEN', KEYS[2]) + 1
local since = tonumber(ARGV[3])
if ARGV[2] == meta[1] and since <= offset and since >= first - 1 then
  return {meta[1], offset, 1, -1, '', since + 1, redis.call('LRANGE', KEYS[2], since - first + 1, -1)}
end
if ARGV[5] ~= '1' then
  return {meta[1], offset, 0, -1, '', offset + 1, {}}
end
local document_offset = tonumber(meta[4] or -1)
local document = document_offset >= 0 and redis.call('GET', KEYS[3])
if document and document_offset >= first - 1 then
  local events = redis.call('LRANGE', KEYS[2], document_offset - first + 1, -1)
  return {meta[1], offset, 0, document_offset, document, document_offset + 1, events}
end
if first == 1 then
  return {meta[1], offset, 0, -1, '', 1, redis.call('LRANGE', KEYS[2], 0, -1)}
end
return {meta[1], offset, 0, -1, '', offset + 1, {}}
