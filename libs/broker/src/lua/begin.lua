-- Grants an attempt to the holder of the lease. Repeated with the same token: the same attempt.
-- KEYS[1] job hash  [2] BullMQ's lock of the job  [3] body
-- ARGV[1] base  [2] linger  [3] job id  [4] lease token  [5] node  [6] most counted starts
--      [7] ErrorInfo for attempts exhausted  [8] ErrorInfo for a passed deadline
--      [9] 1: absent gateways may be judged dead, 0: too early to say
-- Returns {'begun', attempt, next frame, ms to the deadline, body or '', counted starts} | {'gone'} | {'ended'} | {'lost'}
local base, linger, job, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local h = redis.call('HMGET', KEYS[1], 'rec', 'tok', 'att', 'next', 'dl', 'starts', 'fol', 'bg', 'err')
if not h[5] then return {'gone'} end
if h[1] then return {'ended'} end
if redis.call('GET', KEYS[2]) ~= token then return {'lost'} end
local now, attempt, starts = now_ms(), tonumber(h[3] or '0'), tonumber(h[6] or '0')
if h[2] ~= token then
  if now >= tonumber(h[5]) then finish(base, job, linger, 'expired', ARGV[8]) return {'ended'} end
  if ARGV[9] == '1' and not is_wanted(base, h[7], h[8]) then finish(base, job, linger, 'cancelled', '') return {'ended'} end
  if starts >= tonumber(ARGV[6]) then finish(base, job, linger, 'failed', h[9] or ARGV[7]) return {'ended'} end
  attempt = attempt + 1
  redis.call('HSET', KEYS[1], 'att', attempt, 'tok', token, 'node', ARGV[5])
  starts = redis.call('HINCRBY', KEYS[1], 'starts', 1)
end
return {'begun', attempt, tonumber(h[4] or '1'), tonumber(h[5]) - now, redis.call('GET', KEYS[3]) or '', starts}
