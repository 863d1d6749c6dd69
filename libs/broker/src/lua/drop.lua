-- Forgets what is kept of an ended job. A mark of it stays a while: whoever still works on it, or repeats its request, learns that it is over.
-- KEYS[1] job hash  [2] log  [3] list of its owner  [4] list of all  [5] until when each stands there
-- ARGV[1] job id  [2] owner  [3] ms that the mark stays at least
-- Returns 1, or 0 for a job that has not ended or is not there
local h = redis.call('HMGET', KEYS[1], 'rec', 'own')
if not h[1] or h[2] ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'tail', 'dl', 'dia', 'list')
-- Of a request that has a key, the mark stays as long as its answer would have.
if redis.call('HEXISTS', KEYS[1], 'fp') == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[2] .. ' ' .. ARGV[1])
return 1
