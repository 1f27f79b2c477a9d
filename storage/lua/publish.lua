-- Gives events of one room the next offsets in the order given, keeps them in the history and
-- publishes them as one message; each once.
-- KEYS: meta, events, document, ids, times, documents of one room (all hash-tagged by the room).
-- ARGV: 1 epoch to use if the room is new, 2 history_max, 3 ttl_ms,
--       4 ids_max (0: all, as long as the room lives), 5 channel, 6 PUBLISH or SPUBLISH,
--       7 ms that a delayed room keeps beyond its delay, 8 events that it keeps at most,
--       9 ms between two documents that it keeps; then of each event:
--       body (bytes), event id or '', stream or '', live_seq, document after this event or '',
--       epoch that the caller expects or '', spectator delay of the match in s, '' where the caller
--       says nothing about it
-- Returns {'published' | 'duplicate' | 'new_epoch', epoch, offset} of each.
-- 'new_epoch': nothing was done, because the room lost its document: the caller publishes that first.
-- An event with a delay is dated by this server's clock, never backwards; one without is due at once.
-- The message is epoch:offset:body, or epoch:first+length,length,...:bodies of several.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'offset', 'delay', 'at', 'document_at')
local epoch = meta[1]
local fresh = (not epoch) or meta[2] ~= run
local offset = tonumber(meta[3] or 0)
local delay, at, document_at = meta[4], tonumber(meta[5] or 0), tonumber(meta[6] or 0)
local ttl_ms = ARGV[3]
local results, bodies, lengths, seqs, changed = {}, {}, {}, {}, {}
local late, ids, documents = false, false, false

local function seq_of(stream)
  if seqs[stream] == nil then
    seqs[stream] = tonumber(redis.call('HGET', KEYS[1], 's:' .. stream) or 0)
  end
  return seqs[stream]
end

local function known(id, stream, live_seq)
  if id ~= '' and redis.call('ZSCORE', KEYS[4], id) then
    return true
  end
  return stream ~= '' and tonumber(live_seq) <= seq_of(stream)
end

local function begin_epoch()
  redis.call('DEL', unpack(KEYS))
  epoch, offset, fresh = ARGV[1], 0, false
  delay, at, document_at = false, 0, 0
  seqs = {}
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', run)
end

local function date_late(delay_ms)
  local time = redis.call('TIME')
  at = math.max(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), at)
  changed['at'] = at
  redis.call('ZADD', KEYS[5], at, offset)
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', '(' .. (at - delay_ms - tonumber(ARGV[7])))
  late = true
end

local function keep_document(document, delay_ms)
  redis.call('SET', KEYS[3], document, 'PX', ttl_ms)
  changed['document_offset'] = offset
  local every_ms = tonumber(ARGV[9])
  if delay_ms > 0 and at - document_at >= every_ms then
    redis.call('ZADD', KEYS[6], offset, offset .. ':' .. document)
    document_at = at
    changed['document_at'] = at
    -- They are at least `every_ms` apart, so that these many reach back far enough.
    local kept = math.ceil((delay_ms + tonumber(ARGV[7])) / every_ms) + 2
    redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -kept - 1)
    documents = true
  end
end

for i = 10, #ARGV, 7 do
  local body, id, stream, live_seq = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local document, expected, told = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
  if expected ~= '' and (fresh or epoch ~= expected) then
    results[#results + 1] = {'new_epoch', epoch or '', 0}
  elseif not fresh and known(id, stream, live_seq) then
    results[#results + 1] = {'duplicate', epoch, offset}
  else
    if fresh then
      begin_epoch()
    end
    offset = offset + 1
    redis.call('RPUSH', KEYS[2], body)
    bodies[#bodies + 1] = body
    lengths[#lengths + 1] = #body
    if told ~= '' and delay ~= told then
      delay = told
      changed['delay'] = told
    end
    local delay_ms = (tonumber(told) or 0) * 1000
    if delay_ms > 0 then
      date_late(delay_ms)
    end
    if id ~= '' then
      redis.call('ZADD', KEYS[4], offset, id)
      ids = true
    end
    if stream ~= '' then
      seqs[stream] = tonumber(live_seq)
      changed['s:' .. stream] = live_seq
    end
    if document ~= '' then
      keep_document(document, delay_ms)
    end
    results[#results + 1] = {'published', epoch, offset}
  end
end

if #bodies == 0 then
  return results
end
local fields = {'offset', offset}
for name, value in pairs(changed) do
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
redis.call('HSET', KEYS[1], unpack(fields))
if late then
  local first = tonumber(redis.call('ZRANGE', KEYS[5], 0, 0)[1])
  local kept = math.max(offset - first + 1, tonumber(ARGV[2]))
  redis.call('LTRIM', KEYS[2], -math.min(kept, tonumber(ARGV[8])), -1)
  redis.call('PEXPIRE', KEYS[5], ttl_ms)
elseif (tonumber(delay or 0)) == 0 then
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
end
if ids then
  if ARGV[4] ~= '0' then
    redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -tonumber(ARGV[4]) - 1)
  end
  redis.call('PEXPIRE', KEYS[4], ttl_ms)
end
if documents then
  redis.call('PEXPIRE', KEYS[6], ttl_ms)
end
redis.call('PEXPIRE', KEYS[1], ttl_ms)
redis.call('PEXPIRE', KEYS[2], ttl_ms)
local where = tostring(offset)
if #bodies > 1 then
  where = (offset - #bodies + 1) .. '+' .. table.concat(lengths, ',')
end
redis.call(ARGV[6], ARGV[5], epoch .. ':' .. where .. ':' .. table.concat(bodies))
return results
