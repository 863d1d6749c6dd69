-- A delivery begins anew, whatever became of it; one that somebody is at just now is left to that.
-- KEYS[1] delivery  [2] endpoint  [3] past
-- ARGV[1] base  [2] endpoint  [3] event  [4] token of this wish: it is granted once
-- Returns 1 | 0: there is no such delivery, or no longer | -1: the endpoint is told nothing more
local base, endpoint, event = ARGV[1], ARGV[2], ARGV[3]
local h, now = redis.call('HMGET', KEYS[1], 'type', 'claim', 'state', 'again'), now_ms()
if not h[1] then return 0 end
if h[4] == ARGV[4] then return 1 end
if redis.call('HEXISTS', KEYS[2], 'off') == 1 then return -1 end
if h[2] and not h[3] and tonumber(redis.call('ZSCORE', base .. ':pending:' .. endpoint, event) or '0') > now then return 1 end
redis.call('HDEL', KEYS[1], 'state', 'step', 'claim')
redis.call('HSET', KEYS[1], 'again', ARGV[4])
redis.call('ZREM', KEYS[3], event)
waits(base, endpoint, event, now)
due(base, endpoint)
return 1
