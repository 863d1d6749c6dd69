-- Leases the next job of a lane and grants its attempt, in one step: there is no lease without an attempt for anybody to find.
-- KEYS, in the order of BullMQ's moveToActive: [1] wait  [2] active  [3] prioritized  [4] events  [5] stalled  [6] limiter  [7] delayed
--      [8] paused  [9] meta  [10] pc  [11] marker; and [12] what this token has taken  [13] lane's ranks  [14] lane's since
-- ARGV[1] base  [2] linger  [3] prefix of the lane's keys  [4] epoch ms  [5] lease token  [6] lock ms  [7] node  [8] most counted starts
--      [9] ErrorInfo for attempts exhausted  [10] ErrorInfo for a passed deadline
--      [11] 1: absent gateways may be judged dead, 0: too early to say
-- Returns {'begun', job id, envelope, attempt, next frame, ms to the deadline, body or '', counted starts,
--      ErrorInfo of the last failed attempt or ''} | {'empty'}
--      | {'gone', job id} | {'ended', job id}: BullMQ's job needs no attempt and is to be finished.
-- Repeated with the same token: the same answer, or {'empty'} once its lock is lost.
local base, linger, token = ARGV[1], ARGV[2], ARGV[5]
local job = redis.call('GET', KEYS[12])
local data
if job then
  -- Sent again, and late: somebody else may have it by now.
  if redis.call('GET', ARGV[3] .. job .. ':lock') ~= token then return {'empty'} end
  data = redis.call('HGET', ARGV[3] .. job, 'data')
else
  local taken = bullmq_moveToActive(KEYS, { ARGV[3], ARGV[4], cmsgpack.pack({ token = token, lockDuration = tonumber(ARGV[6]) }) })
  if type(taken[1]) ~= 'table' then return {'empty'} end
  job = taken[2]
  local rank
  for i = 1, #taken[1], 2 do
    if taken[1][i] == 'data' then data = taken[1][i + 1]
    elseif taken[1][i] == 'priority' then rank = tonumber(taken[1][i + 1]) end
  end
  -- What is served now; one that was given back, or recovered, comes with an earlier rank.
  if rank and rank > tonumber(redis.call('ZSCORE', KEYS[13], '*') or '0') then redis.call('ZADD', KEYS[13], rank, '*') end
  redis.call('SET', KEYS[12], job, 'PX', 3000)
end
redis.call('ZREM', KEYS[14], job)
local key = base .. ':job:' .. job
local h = redis.call('HMGET', key, 'rec', 'tok', 'att', 'next', 'dl', 'starts', 'fol', 'bg', 'err', 'began', 'own', 'lim', 'size')
if not h[5] or not data then return {'gone', job} end
if h[1] then return {'ended', job} end
local now, attempt, starts = now_ms(), tonumber(h[3] or '0'), tonumber(h[6] or '0')
if h[2] ~= token then
  if now >= tonumber(h[5]) then finish(base, job, linger, 'expired', ARGV[10]) return {'ended', job} end
  if ARGV[11] == '1' and not is_wanted(base, h[7], h[8]) then finish(base, job, linger, 'cancelled', '') return {'ended', job} end
  if starts >= tonumber(ARGV[8]) then finish(base, job, linger, 'failed', h[9] or ARGV[9]) return {'ended', job} end
  if h[12] and attempt == 0 then limiter().begun(base, h[11], job) end
  attempt, starts = attempt + 1, starts + 1
  redis.call('HSET', key, 'att', attempt, 'tok', token, 'node', ARGV[7], 'starts', starts, 'began', h[10] or now)
end
-- What its envelope does not hold of its bytes lies beside it.
local body = tonumber(h[13]) > #data and redis.call('GET', key .. ':body') or ''
return {'begun', job, data, attempt, tonumber(h[4] or '1'), tonumber(h[5]) - now, body, starts, h[9] or ''}
