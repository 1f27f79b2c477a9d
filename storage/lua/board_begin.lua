-- Begins to make a board's set beside the live one, if nobody is at it.
-- KEYS: 1 set, 2 marker, 3 version, 4 making, 5 fresh set.
-- ARGV: 1 what the board is made of, 2 who makes it, 3 ms without a sign of life after which others may, 4 '1' also where the live set is complete.
-- Returns 'begun', 'complete' or 'busy'.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if ARGV[4] ~= '1' and redis.call('GET', KEYS[2]) == ARGV[1] .. '|' .. run
  and redis.call('EXISTS', KEYS[3]) == 1 and redis.call('ZSCORE', KEYS[1], '') then
  return 'complete'
end
-- Asked twice, because the answer was lost, it is still this one.
if redis.call('GET', KEYS[4]) ~= ARGV[2]
  and not redis.call('SET', KEYS[4], ARGV[2], 'NX', 'PX', ARGV[3]) then
  return 'busy'
end
redis.call('UNLINK', KEYS[5])
return 'begun'
