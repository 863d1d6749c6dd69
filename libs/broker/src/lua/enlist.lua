-- Registers an endpoint.
-- KEYS[1] endpoint  [2] those of its owner  [3] all
-- ARGV[1] id  [2] owner  [3] url  [4] events  [5] secret  [6] most of one owner
-- Returns {when (ms), 1 | 0: its owner has as many as may be}
local at = redis.call('HGET', KEYS[1], 'at')
if at then return {tonumber(at), 1} end
local now = now_ms()
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[6]) then return {now, 0} end
redis.call('HSET', KEYS[1], 'own', ARGV[2], 'url', ARGV[3], 'events', ARGV[4], 'secret', ARGV[5], 'at', now)
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
return {now, 1}
