-- Takes, keeps or gives back the turn to bring nodes to what is described; whose turn it is may tell what it has done.
-- KEYS[1] turn  [2] desired (desired_put.lua)
-- ARGV[1] who  [2] ms of a turn, 0: it is given back  [3] 1: it is only kept, not taken  [4] what was done, or ''  [5] how it goes on, or ''
--      [6] `<version> <at>` of the state that the caller knows, or ''
-- Returns {1, version, at, state, '' for the one that is known, what was done, '' for who has the turn already} | {0}: it is another's turn | {}: nothing is described, or it was given back
if ARGV[2] == '0' then
  if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
  return {}
end
if redis.call('EXISTS', KEYS[2]) == 0 then return {} end
local whose = redis.call('GET', KEYS[1])
if whose ~= ARGV[1] and (whose or ARGV[3] == '1') then return {0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], 'mem', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'rep', ARGV[5]) end
local h = redis.call('HMGET', KEYS[2], 'v', 'at')
local known = h[1] .. ' ' .. h[2] == ARGV[6]
return {1, tonumber(h[1]), h[2], known and '' or redis.call('HGET', KEYS[2], 'doc'), ARGV[3] == '1' and '' or redis.call('HGET', KEYS[2], 'mem') or ''}
