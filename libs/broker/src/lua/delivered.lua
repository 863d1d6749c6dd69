-- How a try of a delivery went, by who has claimed it.
-- KEYS[1] delivery  [2] endpoint
-- ARGV[1] base  [2] endpoint  [3] event  [4] token of the claim  [5] 'delivered' | 'retry' | 'failed' | 'gone': the endpoint wants nothing more
--      | 'returned': not tried  [6] HTTP status or ''  [7] what was wrong, or ''  [8] ms to the next try
-- Returns 1, or 0: it is no longer its own
local base, endpoint, event, verdict = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[4] then return 0 end
local now = now_ms()
redis.call('HDEL', KEYS[1], 'claim')
if verdict == 'returned' then redis.call('HINCRBY', KEYS[1], 'tries', -1)
else redis.call('HSET', KEYS[1], 'last', now, 'status', ARGV[6], 'err', ARGV[7]) end
if verdict == 'delivered' or verdict == 'failed' then over(base, endpoint, event, verdict, now)
elseif verdict == 'gone' then
  over(base, endpoint, event, 'failed', now)
  redis.call('HSET', KEYS[2], 'off', 'gone')
  -- So that the next dispatch ends what waits.
  for _, other in ipairs(redis.call('ZRANGE', base .. ':pending:' .. endpoint, 0, 0)) do redis.call('ZADD', base .. ':pending:' .. endpoint, now, other) end
else
  if verdict == 'retry' then redis.call('HINCRBY', KEYS[1], 'step', 1) end
  waits(base, endpoint, event, now + tonumber(ARGV[8]))
end
due(base, endpoint)
return 1
