-- Makes a batch of a file that is there.
-- KEYS[1] batch hash  [2] batches  [3] its owner's  [4] open batches  [5] input file's hash
-- ARGV[1] id  [2] owner  [3] spec (JSON)  [4] ms to the deadline  [5] whose the file must be, or '': anybody's  [6] most open batches
-- Returns {1, created (ms)}; repeated, the same | {0, 'file'}: there is no such file of purpose batch | {0, 'full'}
local at = redis.call('HGET', KEYS[1], 'at')
if at then return {1, tonumber(at)} end
local f = redis.call('HMGET', KEYS[5], 'own', 'purpose', 'gone', 'store')
if not f[1] or f[3] or f[2] ~= 'batch' or (ARGV[5] ~= '' and f[1] ~= ARGV[5]) then return {0, 'file'} end
if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[6]) then return {0, 'full'} end
local now = now_ms()
redis.call('HSET', KEYS[1], 'own', ARGV[2], 'spec', ARGV[3], 'store', f[4], 'at', now, 'dl', now + tonumber(ARGV[4]), 'st', 'validating',
  'total', 0, 'completed', 0, 'failed', 0, 'cancelled', 0, 'expired', 0)
redis.call('HINCRBY', KEYS[5], 'refs', 1)
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZADD', KEYS[4], now, ARGV[1])
return {1, now}
