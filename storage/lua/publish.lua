-- Gives events of some rooms the next offsets in the order given, keeps them in the history and
-- publishes those of a room as one message; each once. Commands are what it costs: all rooms are read
-- by one, and a room that nobody listens to takes two more, however many events it gets.
-- KEYS: state of each room, '{room}/state'; its other keys ('{room}/events', document, ids, times,
--       documents) and its channel ('room/{room}') are of the same slot. In a cluster all keys of one
--       room, its state first.
-- ARGV: 1 epoch to use for rooms that are new, 2 PUBLISH or SPUBLISH,
--       3 ms that a delayed room keeps beyond its delay, 4 events that it keeps at most,
--       5 ms between two documents that it keeps, 6 '1' if the answer is wanted; then of each room:
--       how many events, history_max, ttl_ms, ids_max (0: all, as long as the room lives),
--       shape of its events, stream of its first event or ''; then of each event, by the shape:
--       'ids':     body (bytes), event id
--       'numbers': body, live_seq in that stream
--       'whole':   body, event id or '', stream or '', live_seq, document after this event or '',
--                  epoch that the caller expects or '', spectator delay of the match in s, '' where
--                  the caller says nothing about it
-- Returns of each room, where it is wanted: epoch, offset, a letter per event, epoch before.
-- 'p' published, 'd' duplicate, 'n' nothing was done, because the room lost its document and has a
-- new epoch: the caller publishes that first.
-- An event with a delay is dated by this server's clock, never backwards; one without is due at once.
-- The message is epoch:offset:body, or epoch:first+length,length,...:bodies of several.
-- The state is packed: its form (another release's state is none), run, epoch, offset, ms when the
-- other keys expire, delay or '', last number of each stream, ids where all are remembered (a match has
-- few FACTs, and each is read at every event), date of the last dated event, date and offset of the
-- last kept and the last document (-1: none).
-- A restarted process begins every room anew, so that its file needs none of this; a replica does, for
-- the process that was master before it may be so again.
redis.set_repl(redis.REPL_REPLICA)
local call, concat, sub = redis.call, table.concat, string.sub
local run = string.match(call('INFO', 'server'), 'run_id:(%w+)')
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local FORM = 1
local late_kept_ms, every_ms = tonumber(ARGV[3]), tonumber(ARGV[5])
local wanted = ARGV[6] == '1'
local at = 7
local results = {}

local function keep_late(base, offset, document, delay_ms, expires)
  local documents = base .. 'documents'
  call('ZADD', documents, offset, offset .. ':' .. document)
  -- They are at least `every_ms` apart, so that these many reach back far enough.
  local kept = math.ceil((delay_ms + late_kept_ms) / every_ms) + 2
  call('ZREMRANGEBYRANK', documents, 0, -kept - 1)
  call('PEXPIREAT', documents, expires)
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
  channels[room] = 'room/' .. sub(KEYS[room], 1, -7)
end
local heard = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', unpack(channels))
local states = call('MGET', unpack(KEYS, 1, rooms))

for room = 1, rooms do
  local key = KEYS[room]
  local base = sub(key, 1, -6)
  local count, history_max = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local ttl_ms, ids_max = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local shape, main = ARGV[at + 4], ARGV[at + 5]
  at = at + 6
  -- Keys get their time anew only when a sixteenth of it is over: they have that much more, so that it
  -- is never less than it should be.
  local keep_ms = math.ceil(ttl_ms * 17 / 16)
  local numbers, whole = shape == 'numbers', shape == 'whole'
  local step = whole and 7 or 2
  local fine, form, was, epoch, offset, expires, delay, done, ids, late_at, document_at
  local document_offset
  if states[room] then
    fine, form, was, epoch, offset, expires, delay, done, ids, late_at, document_at, document_offset =
      pcall(cmsgpack.unpack, states[room])
    if not fine or form ~= FORM then
      was, epoch, offset = nil, nil, nil
    end
  end
  local before = epoch or ''
  local fresh = was ~= run
  local due = fresh or expires - now < ttl_ms
  if due then
    expires = now + keep_ms
  end
  local all = ids_max == 0
  local known = {}
  if not fresh then
    known = all and ids or not numbers and known_ids(base, count, step) or known
  end
  local dated, began = false, false
  local bodies, marks, letters, published = {}, {}, {}, 0

  for nth = 1, count do
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
    if expected ~= '' and (fresh or epoch ~= expected) then
      letters[nth] = 'n'
    elseif not fresh and (known[id] or (stream ~= '' and tonumber(number) <= (done[stream] or 0))) then
      letters[nth] = 'd'
    else
      if fresh then
        -- What goes with a state expires with it. Where more than events could be left of one that was
        -- evicted alone, that is not relied upon.
        if states[room] or not numbers then
          call('DEL', base .. 'events', base .. 'document', base .. 'ids', base .. 'times',
            base .. 'documents')
        end
        epoch, offset, delay, done, ids = ARGV[1], 0, '', {}, {}
        late_at, document_at, document_offset = 0, 0, -1
        known = all and ids or {}
        fresh, began = false, true
      end
      offset = offset + 1
      published = published + 1
      bodies[published] = body
      letters[nth] = 'p'
      if whole then
        local delay_ms = tonumber(told ~= '' and told or 0) * 1000
        if told ~= '' then
          delay = told
        end
        if delay_ms > 0 then
          late_at = math.max(now, late_at)
          call('ZADD', base .. 'times', late_at, offset)
          call('ZREMRANGEBYSCORE', base .. 'times', '-inf',
            '(' .. (late_at - delay_ms - late_kept_ms))
          dated = true
        end
        if document ~= '' then
          call('SET', base .. 'document', document, 'PXAT', expires)
          document_offset = offset
          if delay_ms > 0 and late_at - document_at >= every_ms then
            document_at = late_at
            keep_late(base, offset, document, delay_ms, expires)
          end
        end
      end
      if id ~= '' then
        known[id] = true
        marks[#marks + 1] = offset
        marks[#marks + 1] = id
      end
      if stream ~= '' then
        done[stream] = tonumber(number)
      end
    end
  end
  if wanted then
    local answer = #results
    results[answer + 1], results[answer + 2] = epoch or '', offset or 0
    results[answer + 3], results[answer + 4] = concat(letters), before
  end

  if published > 0 then
    local packed = cmsgpack.pack(FORM, run, epoch, offset, expires, delay, done, ids, late_at, document_at,
      document_offset)
    if due then
      call('SET', key, packed, 'PXAT', expires)
      if not began and document_offset >= 0 then
        call('PEXPIREAT', base .. 'document', expires)
      end
      if not began and late_at > 0 then
        call('PEXPIREAT', base .. 'documents', expires)
        call('PEXPIREAT', base .. 'times', expires)
      end
    else
      call('SET', key, packed, 'KEEPTTL')
    end
    local events = base .. 'events'
    local length = call('RPUSH', events, unpack(bodies))
    if due or length == published then
      call('PEXPIREAT', events, expires)
    end
    -- Of a room that began anew nothing older is left.
    local kept = began and math.min(published, history_max) or history_max
    if dated then
      local first = tonumber(call('ZRANGE', base .. 'times', 0, 0)[1])
      kept = math.min(math.max(offset - first + 1, history_max), tonumber(ARGV[4]))
      call('PEXPIREAT', base .. 'times', expires)
    elseif delay ~= '' and tonumber(delay) > 0 then
      kept = length
    end
    if length > kept then
      call('LTRIM', events, -kept, -1)
    end
    if #marks > 0 and not all then
      call('ZADD', base .. 'ids', unpack(marks))
      -- There are at most as many ids as events.
      if offset > ids_max then
        call('ZREMRANGEBYRANK', base .. 'ids', 0, -ids_max - 1)
      end
      call('PEXPIREAT', base .. 'ids', expires)
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
