-- Sets the relay's mark, unless another relay has set it since it was read.
-- KEYS: 1 the mark
-- ARGV: 1 log and 2 seq as they were read ('' where there was none), 3 log, 4 seq, 5 event id
-- Returns 1, or 0 where nothing was done.
local now = redis.call('HMGET', KEYS[1], 'log', 'seq')
if (now[1] or '') ~= ARGV[1] or (now[2] or '') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'log', ARGV[3], 'seq', ARGV[4], 'event_id', ARGV[5])
return 1
