-- The holder of an attempt gives the job up, unended: nothing it still has under way is taken any more.
-- KEYS[1] job hash  [2] lane's since
-- ARGV[1] attempt  [2] lease token  [3] counted 0|1  [4] ErrorInfo (JSON) or ''  [5] job id
-- Returns 1, or 0 when the attempt is no longer its own.
local h = redis.call('HMGET', KEYS[1], 'att', 'tok', 'rec', 'gave', 'at')
if h[3] or h[1] ~= ARGV[1] then return 0 end
if h[2] ~= ARGV[2] then return h[4] == ARGV[2] and 1 or 0 end
redis.call('HDEL', KEYS[1], 'tok', 'node')
redis.call('HSET', KEYS[1], 'gave', ARGV[2])
redis.call('ZADD', KEYS[2], h[5], ARGV[5])
if ARGV[3] == '0' then redis.call('HINCRBY', KEYS[1], 'starts', -1) end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'err', ARGV[4]) end
return 1
