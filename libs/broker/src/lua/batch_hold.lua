-- Keeps a lease, or gives it back.
-- KEYS[1] batch hash
-- ARGV[1] lease token  [2] ms of a lease, 0: it is given back
-- Returns {state, ms to the deadline}, or {}: the lease is another's, or the batch has ended
local h = redis.call('HMGET', KEYS[1], 'tok', 'st', 'dl')
if h[1] ~= ARGV[1] or is_over(h[2]) then return {} end
local now = now_ms()
redis.call('HSET', KEYS[1], 'til', now + tonumber(ARGV[2]))
if ARGV[2] == '0' then redis.call('HDEL', KEYS[1], 'tok') end
return {h[2], tonumber(h[3]) - now}
