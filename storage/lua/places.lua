-- One node's turn: renews its lease, tells what changed, and asks for places under caps (RATE-08).
-- KEYS: 1 the set of nodes, 2 this node's counts, 3... the other nodes' counts, as this node knows them.
-- ARGV: 1 this node, 2 lease_ms, 3 '1' if nothing that Redis has of this node is true any more,
--       4 how many changed, then subject and count of each,
--       then how many ask, then subject, cap (0: none) and this node's count without it, of each;
--       then the other nodes in the order of KEYS.
-- Returns {'nodes', node...}: nothing was done, for the other nodes are these; or
-- {'done', 1 if Redis knew this node's counts, then 1 (in) or 0 (full) for each that asked}.
-- Counts are told, never added up: a turn that is carried out twice is carried out once.
local at = 5
local changed = {}
for _ = 1, tonumber(ARGV[4]) do
  changed[#changed + 1] = {ARGV[at], ARGV[at + 1]}
  at = at + 2
end
local asks = {}
local count = tonumber(ARGV[at])
at = at + 1
for _ = 1, count do
  asks[#asks + 1] = {ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])}
  at = at + 3
end
local known = {[ARGV[1]] = true}
for index = at, #ARGV do
  known[ARGV[index]] = true
end
local others = {}
local strange = false
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if node ~= ARGV[1] then
    others[#others + 1] = node
    strange = strange or not known[node]
  end
end
if strange or #others ~= #KEYS - 2 then
  return {'nodes', unpack(others)}
end
local answer = {'done', redis.call('EXISTS', KEYS[2])}
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[2])
end
-- A node without counts is there too.
redis.call('HSET', KEYS[2], '', 0)
for _, each in ipairs(changed) do
  if each[2] == '0' then
    redis.call('HDEL', KEYS[2], each[1])
  else
    redis.call('HSET', KEYS[2], each[1], each[2])
  end
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
for index = at, #ARGV do
  if redis.call('EXISTS', KEYS[3 + index - at]) == 0 then
    redis.call('SREM', KEYS[1], ARGV[index])
  end
end
local mine = {}
for _, ask in ipairs(asks) do
  local subject, cap = ask[1], ask[2]
  local own = mine[subject] or ask[3]
  local total = own
  if cap > 0 then
    for index = 3, #KEYS do
      total = total + tonumber(redis.call('HGET', KEYS[index], subject) or 0)
    end
  end
  if cap > 0 and total >= cap then
    answer[#answer + 1] = 0
  else
    own = own + 1
    redis.call('HSET', KEYS[2], subject, own)
    answer[#answer + 1] = 1
  end
  mine[subject] = own
end
return answer
