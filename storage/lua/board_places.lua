-- The ranks that scores would have on a board, 0 where it is not complete.
-- KEYS: 1 set, 2 marker, 3 version. ARGV: 1 what the board is made of, then scores.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local complete = redis.call('GET', KEYS[2]) == ARGV[1] .. '|' .. run
  and redis.call('EXISTS', KEYS[3]) == 1 and redis.call('ZSCORE', KEYS[1], '')
local ranks = {}
for i = 2, #ARGV do
  ranks[i - 1] = complete and redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[i]) + 1 or 0
end
return ranks
