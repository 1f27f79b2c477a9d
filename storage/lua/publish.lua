-- Gives events of some rooms the next offsets in the order given, keeps them in the history and
-- publishes those of a room as one message; each once. Commands are what it costs: a room that nobody
-- listens to takes three, however many events it gets.
-- KEYS: meta of each room, '{room}:meta'; its other keys ('{room}:events', document, ids, times,
--       documents) and its channel ('room:{room}') are of the same slot. In a cluster all keys of one
--       room, its meta first.
-- ARGV: 1 epoch to use for rooms that are new, 2 PUBLISH or SPUBLISH,
--       3 ms that a delayed room keeps beyond its delay, 4 events that it keeps at most,
--       5 ms between two documents that it keeps; then of each room:
--       how many events, history_max, ttl_ms, ids_max (0: all, as long as the room lives),
--       shape of its events, stream of its first event or ''; then of each event, by the shape:
--       'ids':     body (bytes), event id
--       'numbers': body, live_seq in that stream
--       'whole':   body, event id or '', stream or '', live_seq, document after this event or '',
--                  epoch that the caller expects or '', spectator delay of the match in s, '' where
--                  the caller says nothing about it
-- Returns of each room: epoch, offset, a letter per event, epoch before.
-- 'p' published, 'd' duplicate, 'n' nothing was done, because the room lost its document and has a
-- new epoch: the caller publishes that first.
-- An event with a delay is dated by this server's clock, never backwards; one without is due at once.
-- The message is epoch:offset:body, or epoch:first+length,length,...:bodies of several.
local call, concat = redis.call, table.concat
local run = string.match(call('INFO', 'server'), 'run_id:(%w+)')
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local late_kept_ms = tonumber(ARGV[3])
local at = 6
local results = {}

local function add(fields, name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

local function keep_document(base, late, offset, document, delay_ms, keep_ms)
  call('SET', base .. 'document', document, 'PX', keep_ms)
  late.document_offset = offset
  local every_ms = tonumber(ARGV[5])
  if delay_ms > 0 and late.at - late.document_at >= every_ms then
    call('ZADD', base .. 'documents', offset, offset .. ':' .. document)
    late.document_at = late.at
    -- They are at least `every_ms` apart, so that these many reach back far enough.
    local kept = math.ceil((delay_ms + late_kept_ms) / every_ms) + 2
    call('ZREMRANGEBYRANK', base .. 'documents', 0, -kept - 1)
    call('PEXPIRE', base .. 'documents', keep_ms)
  end
end

local function known_ids(base, count, step)
  local ids, known = {}, {}
  for i = at, at + (count - 1) * step, step do
    if ARGV[i + 1] ~= '' then
      ids[#ids + 1] = ARGV[i + 1]
    end
  end
  if #ids > 0 then
    local scores = call('ZMSCORE', base .. 'ids', unpack(ids))
    for i = 1, #ids do
      known[ids[i]] = scores[i] and true or nil
    end
  end
  return known
end

-- Whom to tell: where nobody listens, and few rooms have listeners, no message is made.
local sharded = ARGV[2] == 'SPUBLISH'
local rooms = sharded and 1 or #KEYS
local channels = {}
for room = 1, rooms do
  channels[room] = 'room:' .. string.sub(KEYS[room], 1, -6)
end
local heard = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', unpack(channels))

for room = 1, rooms do
  local key = KEYS[room]
  local base = string.sub(key, 1, -5)
  local count, history_max = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local ttl_ms, ids_max = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local shape, main = ARGV[at + 4], ARGV[at + 5]
  at = at + 6
  -- Keys get their time anew only when a sixteenth of it is over: they have that much more, so that
  -- it is never less than it should be.
  local keep_ms = math.ceil(ttl_ms * 17 / 16)
  local numbers, whole = shape == 'numbers', shape == 'whole'
  local step = whole and 7 or 2
  local meta = call('HMGET', key, 'epoch', 'run', 'offset', 'expires', 's:' .. main, 'delay', 'at',
    'document_at')
  local epoch, expires, delay = meta[1], tonumber(meta[4] or 0), meta[6]
  local before = epoch or ''
  local fresh = (not epoch) or meta[2] ~= run
  local offset = tonumber(meta[3] or 0)
  -- The last number of each stream, and those that are new.
  local done, moved = {[main] = tonumber(meta[5] or 0)}, {}
  local known = not numbers and not fresh and known_ids(base, count, step) or {}
  local late = whole and {at = tonumber(meta[7] or 0), document_at = tonumber(meta[8] or 0)}
  local began, dated = false, false
  local bodies, marks, letters, published = {}, {}, '', 0

  for _ = 1, count do
    local body, id, stream, number, document, expected, told = ARGV[at], '', '', '', '', '', ''
    if numbers then
      stream, number = main, ARGV[at + 1]
    elseif whole then
      id, stream, number = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
      document, expected, told = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
    else
      id = ARGV[at + 1]
    end
    at = at + step
    if stream ~= '' and not done[stream] then
      done[stream] = fresh and 0 or tonumber(call('HGET', key, 's:' .. stream) or 0)
    end
    if expected ~= '' and (fresh or epoch ~= expected) then
      letters = letters .. 'n'
    elseif not fresh and (known[id] or (stream ~= '' and tonumber(number) <= done[stream])) then
      letters = letters .. 'd'
    else
      if fresh then
        call('DEL', key, base .. 'events', base .. 'document', base .. 'ids', base .. 'times',
          base .. 'documents')
        epoch, offset, expires, delay, done = ARGV[1], 0, 0, false, {}
        late = whole and {at = 0, document_at = 0}
        fresh, began = false, true
      end
      offset = offset + 1
      published = published + 1
      bodies[published] = body
      letters = letters .. 'p'
      if whole then
        local delay_ms = tonumber(told ~= '' and told or 0) * 1000
        if told ~= '' and delay ~= told then
          delay, late.delay = told, told
        end
        if delay_ms > 0 then
          late.at = math.max(now, late.at)
          call('ZADD', base .. 'times', late.at, offset)
          call('ZREMRANGEBYSCORE', base .. 'times', '-inf',
            '(' .. (late.at - delay_ms - late_kept_ms))
          dated = true
        end
        if document ~= '' then
          keep_document(base, late, offset, document, delay_ms, keep_ms)
        end
      end
      if id ~= '' then
        known[id] = true
        marks[#marks + 1] = offset
        marks[#marks + 1] = id
      end
      if stream ~= '' then
        done[stream] = tonumber(number)
        moved[stream] = number
      end
    end
  end
  local answer = #results
  results[answer + 1], results[answer + 2] = epoch or '', offset
  results[answer + 3], results[answer + 4] = letters, before

  if published > 0 then
    local fields = {'offset', offset}
    for stream, number in pairs(moved) do
      add(fields, 's:' .. stream, number)
    end
    if began then
      add(fields, 'epoch', epoch)
      add(fields, 'run', run)
    end
    if late then
      for _, name in ipairs({'delay', 'document_offset'}) do
        if late[name] then
          add(fields, name, late[name])
        end
      end
      if dated then
        add(fields, 'at', late.at)
        add(fields, 'document_at', late.document_at)
      end
    end
    local due = expires - now < ttl_ms
    if due then
      add(fields, 'expires', now + keep_ms)
    end
    call('HSET', key, unpack(fields))
    local length = call('RPUSH', base .. 'events', unpack(bodies))
    if due then
      call('PEXPIRE', key, keep_ms)
    end
    if due or length == published then
      call('PEXPIRE', base .. 'events', keep_ms)
    end
    local kept = history_max
    if dated then
      local first = tonumber(call('ZRANGE', base .. 'times', 0, 0)[1])
      kept = math.min(math.max(offset - first + 1, history_max), tonumber(ARGV[4]))
      call('PEXPIRE', base .. 'times', keep_ms)
    elseif tonumber(delay or 0) > 0 then
      kept = length
    end
    if length > kept then
      call('LTRIM', base .. 'events', -kept, -1)
    end
    if #marks > 0 then
      call('ZADD', base .. 'ids', unpack(marks))
      -- There are at most as many ids as events.
      if ids_max > 0 and offset > ids_max then
        call('ZREMRANGEBYRANK', base .. 'ids', 0, -ids_max - 1)
      end
      call('PEXPIRE', base .. 'ids', keep_ms)
    end
    if heard[2 * room] > 0 then
      local where = offset
      if published > 1 then
        local lengths = {}
        for n = 1, published do
          lengths[n] = #bodies[n]
        end
        where = (offset - published + 1) .. '+' .. concat(lengths, ',')
      end
      call(ARGV[2], channels[room], epoch .. ':' .. where .. ':' .. concat(bodies))
    end
  end
end
return results
