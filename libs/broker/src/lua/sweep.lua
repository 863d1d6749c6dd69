-- Takes the turn to sweep, ends the jobs whose deadline has passed, and takes off the lists those that are gone.
-- KEYS[1] sweep  [2] deadlines  [3] until when listed jobs stand in the lists
-- ARGV[1] base  [2] linger  [3] who  [4] ms of a turn  [5] ErrorInfo for a passed deadline  [6] most jobs at once
-- Returns {0} when it is another's turn, else {1, job id, lane, job id, lane, ...}: the ended jobs that no attempt had begun
if not redis.call('SET', KEYS[1], ARGV[3], 'NX', 'PX', ARGV[4]) then return {0} end
local answer = {1}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now_ms(), 'LIMIT', 0, ARGV[6])) do
  local owner, job = string.match(member, '^(%S+) (%S+)$')
  local left = redis.call('PTTL', ARGV[1] .. ':job:' .. job)
  if left > 0 then redis.call('ZADD', KEYS[3], 'XX', now_ms() + left, member)
  else
    redis.call('ZREM', KEYS[3], member)
    redis.call('ZREM', ARGV[1] .. ':jobs:of:' .. owner, job)
    redis.call('ZREM', ARGV[1] .. ':jobs:all', job)
  end
end
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms(), 'LIMIT', 0, ARGV[6])) do
  local h = redis.call('HMGET', ARGV[1] .. ':job:' .. job, 'dl', 'rec', 'lane', 'tok')
  if not h[1] or h[2] then redis.call('ZREM', KEYS[2], job)
  else
    finish(ARGV[1], job, ARGV[2], 'expired', ARGV[5])
    if not h[4] then
      answer[#answer + 1] = job
      answer[#answer + 1] = h[3]
    end
  end
end
return answer
