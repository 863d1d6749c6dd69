-- The holder of an attempt that Redis has forgotten takes it up again. With `appendfsync everysec` a killed Redis can lose up to two
-- seconds of what it had answered: it holds writes back while an fsync is under way. The job is then where it was before, in its
-- lane, and belongs to whoever comes first.
-- KEYS[1] job hash  [2] lock  [3] lane's wait  [4] lane's prioritized  [5] lane's active  [6] lane's stalled  [7] BullMQ's job
--      [8] lane's since
-- ARGV[1] job id  [2] lease token  [3] attempt  [4] node  [5] lock ms
-- Returns the number of the next frame | 'gone' (nor is the job there; its gateway may bring it again) | 'ended' | 'lost'
local h = redis.call('HMGET', KEYS[1], 'fol', 'rec', 'att', 'tok', 'next', 'starts')
if not h[1] or redis.call('EXISTS', KEYS[7]) == 0 then return 'gone' end
if h[2] then return 'ended' end
local attempt, holder = tonumber(h[3] or '0'), redis.call('GET', KEYS[2])
if attempt > tonumber(ARGV[3]) or (attempt == tonumber(ARGV[3]) and h[4] ~= ARGV[2]) then return 'lost' end
if holder and holder ~= ARGV[2] then return 'lost' end
if not redis.call('LPOS', KEYS[5], ARGV[1]) then
  redis.call('ZREM', KEYS[4], ARGV[1])
  redis.call('LREM', KEYS[3], 0, ARGV[1])
  redis.call('LPUSH', KEYS[5], ARGV[1])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[5])
redis.call('SREM', KEYS[6], ARGV[1])
redis.call('ZREM', KEYS[8], ARGV[1])
redis.call('HSET', KEYS[1], 'att', ARGV[3], 'tok', ARGV[2], 'node', ARGV[4], 'starts', math.max(1, tonumber(h[6] or '0')))
return tonumber(h[5] or '1')
