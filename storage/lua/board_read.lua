-- Reads a stretch of a board: from the top, behind a place, or around a subject.
-- KEYS: 1 set, 2 marker, 3 version, 4 rendered page ('version' LF body).
-- ARGV: 1 what the board is made of, 2 rows, 3 'top', 'after' or 'around', 4 subject, 5 its score
-- Returns {} for a board that is not complete, else
-- {version, size, rank of the first row, rows with scores, the rendered page of this version or ''}.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local version = redis.call('GET', KEYS[3])
if redis.call('GET', KEYS[2]) ~= ARGV[1] .. '|' .. run or not version
  or not redis.call('ZSCORE', KEYS[1], '') then
  return {}
end
-- Without the member '' that stands behind all others.
local size = redis.call('ZCARD', KEYS[1]) - 1
local first, last = 0, ARGV[2] - 1
if ARGV[3] == 'top' then
  local page = redis.call('GET', KEYS[4])
  if page and string.sub(page, 1, #version + 1) == version .. '\n' then
    return {version, size, 1, {}, string.sub(page, #version + 2)}
  end
elseif ARGV[3] == 'after' then
  local kept = redis.call('ZSCORE', KEYS[1], ARGV[4])
  if kept and tonumber(kept) == tonumber(ARGV[5]) then
    first = redis.call('ZRANK', KEYS[1], ARGV[4]) + 1
  else
    -- Who stood there has moved: from those who share the place on, so that nobody is left out.
    first = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[5])
  end
  last = first + ARGV[2] - 1
else
  local rank = redis.call('ZRANK', KEYS[1], ARGV[4])
  if not rank then
    return {version, size, 0, {}, ''}
  end
  first, last = math.max(rank - ARGV[2], 0), rank + ARGV[2]
end
last = math.min(last, size - 1)
local rows = first <= last and redis.call('ZRANGE', KEYS[1], first, last, 'WITHSCORES') or {}
return {version, size, first + 1, rows, ''}
