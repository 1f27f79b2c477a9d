-- Reads a room for a joiner: what it missed since its position, or the document and what follows it.
-- KEYS: state (see publish.lua), events, document, ids, times, documents of one room.
-- ARGV: 1 epoch to use if the room is new, 2 epoch of the joiner or '', 3 offset of the joiner,
--       4 ttl_ms of a room that nobody has published to, 5 '1' if rooms of this kind have a
--       document, 6 '1' if the joiner sees a delayed room as it is now; all others see it as it was
--       before its delay; 7 events that a joiner may have missed: over it, though the room still
--       has them, it starts from a document
-- Returns {epoch, offset, recovered 0|1, document_offset or -1, document or '', first offset, events}.
redis.set_repl(redis.REPL_REPLICA)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local packed = redis.call('GET', KEYS[1])
local fine, form, was, epoch, offset, _, delay, document_offset
if packed then
  fine, form, was, epoch, offset, _, delay, _, _, _, _, document_offset =
    pcall(cmsgpack.unpack, packed)
end
if not fine or form ~= 1 or was ~= run then
  redis.call('DEL', unpack(KEYS))
  redis.call('SET', KEYS[1], cmsgpack.pack(1, run, ARGV[1], 0, 0, '', {}, {}, 0, 0, -1), 'PX', ARGV[4])
  return {ARGV[1], 0, 0, -1, '', 1, {}}
end
if offset == 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
local first = offset - redis.call('LLEN', KEYS[2]) + 1
local delay_ms = (tonumber(delay) or 0) * 1000
local late = delay_ms > 0 and ARGV[6] ~= '1'
if late then
  -- The room ends before its first event that is not due; what has no time is due.
  local time = redis.call('TIME')
  local cut = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - delay_ms
  local undue = redis.call('ZRANGEBYSCORE', KEYS[5], '(' .. cut, '+inf', 'LIMIT', 0, 1)
  if undue[1] then
    offset = tonumber(undue[1]) - 1
  end
end
local function events_after(since)
  if since >= offset then
    return {}
  end
  return redis.call('LRANGE', KEYS[2], since - first + 1, offset - first)
end
local since = tonumber(ARGV[3])
local oldest = math.max(first - 1, offset - tonumber(ARGV[7]))
if ARGV[2] == epoch and since <= offset and since >= oldest then
  return {epoch, offset, 1, -1, '', since + 1, events_after(since)}
end
if ARGV[5] ~= '1' then
  return {epoch, offset, 0, -1, '', offset + 1, {}}
end
local document = false
if late then
  local found = redis.call('ZREVRANGEBYSCORE', KEYS[6], offset, '-inf', 'LIMIT', 0, 1)[1]
  document_offset = -1
  if found then
    local colon = string.find(found, ':', 1, true)
    document_offset = tonumber(string.sub(found, 1, colon - 1))
    document = string.sub(found, colon + 1)
  end
elseif document_offset >= 0 then
  document = redis.call('GET', KEYS[3])
end
if late and document and document_offset < first - 1 then
  -- What follows the due document went already, for there is too much of it: the room goes from
  -- document to document.
  return {epoch, document_offset, 0, document_offset, document, document_offset + 1, {}}
end
if document and document_offset >= first - 1 then
  return {epoch, offset, 0, document_offset, document, document_offset + 1,
    events_after(document_offset)}
end
if oldest <= 0 then
  return {epoch, offset, 0, -1, '', 1, events_after(0)}
end
return {epoch, offset, 0, -1, '', offset + 1, {}}
