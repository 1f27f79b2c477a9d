-- Writes places through to a board's set, if it is complete, and to one that is being made.
-- KEYS: 1 set, 2 marker, 3 version, 4 news, 5 moved, 6 making, 7 fresh set.
-- ARGV: 1 what the board is made of, 2 and 3 the first and last fact's number, 4 ms of these facts,
-- 5 how many of the first rows are told (and how many news wait at most); then triples: id,
-- score ('' = off the board), and how:
-- with a 't' told even if the place is the same, with a 'p' whose rank before and after is asked.
-- Returns {} for a board that is not complete, else {version, size, id, rank before, after, ...}
-- from 1, 0 = none, of those with 'p'.
-- `moved` keeps ranks from before a batch until the next batch: one that is applied again, because
-- its commit was lost, has the same answer.
if redis.call('EXISTS', KEYS[6]) == 1 then
  for i = 6, #ARGV, 3 do
    -- Who left must not be added by a page that was read before; the end takes these out.
    local score = ARGV[i + 1] == '' and '+inf' or ARGV[i + 1]
    redis.call('ZADD', KEYS[7], score, ARGV[i])
  end
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local version = redis.call('GET', KEYS[3])
-- The member '' stands behind all others: a set that was lost alone is not complete either.
if redis.call('GET', KEYS[2]) ~= ARGV[1] .. '|' .. run or not version
  or not redis.call('ZSCORE', KEYS[1], '') then
  return {}
end

local function top()
  local size = redis.call('ZCARD', KEYS[1]) - 1
  local rows, places = {}, {}
  if size > 0 then
    rows = redis.call('ZRANGE', KEYS[1], 0, math.min(ARGV[5], size) - 1, 'WITHSCORES')
  end
  for i = 1, #rows, 2 do
    places[rows[i]] = (i + 1) / 2 .. ' ' .. rows[i + 1]
  end
  return size, rows, places
end

local size_was, _, was = top()
local last = tonumber(redis.call('HGET', KEYS[5], '') or 0)
if last < tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[5])
  last = 0
end
-- Commands are what it costs: whatever is asked and set of many is asked and set at once.
local told, asked, placed, gone = {}, {}, {}, {}
for i = 6, #ARGV, 3 do
  local id, score, how = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if string.find(how, 't') then
    told[id] = true
  end
  if string.find(how, 'p') then
    asked[#asked + 1] = id
  end
  if score == '' then
    gone[#gone + 1] = id
  else
    placed[#placed + 1] = score
    placed[#placed + 1] = id
  end
end
local before = {}
if #asked > 0 then
  local kept, moved = redis.call('HMGET', KEYS[5], unpack(asked)), {}
  for i = 1, #asked do
    before[i] = tonumber(kept[i] or (redis.call('ZRANK', KEYS[1], asked[i]) or -1) + 1)
    if not kept[i] then
      moved[#moved + 1] = asked[i]
      moved[#moved + 1] = before[i]
    end
  end
  redis.call('HSET', KEYS[5], '', math.max(last, tonumber(ARGV[3])), unpack(moved))
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
end
if #placed > 0 then
  redis.call('ZADD', KEYS[1], unpack(placed))
end

local size, rows = top()
local lines = {}
for i = 1, #rows, 2 do
  local line = (i + 1) / 2 .. ' ' .. rows[i + 1]
  if was[rows[i]] ~= line or told[rows[i]] then
    lines[#lines + 1] = line .. ' ' .. rows[i]
  end
end
if #lines > 0 or size ~= size_was then
  version = string.format('%.0f', version + 1)
  redis.call('SET', KEYS[3], version)
  local news = version .. ' ' .. ARGV[4] .. ' ' .. size
  if #lines > 0 then
    news = news .. '\n' .. table.concat(lines, '\n')
  end
  redis.call('ZADD', KEYS[4], version, news)
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -ARGV[5] - 1)
end
local results = {version, size}
for i = 1, #asked do
  results[#results + 1] = asked[i]
  results[#results + 1] = before[i]
  results[#results + 1] = (redis.call('ZRANK', KEYS[1], asked[i]) or -1) + 1
end
return results
