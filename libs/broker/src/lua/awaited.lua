-- A job of a lane that waits and is wanted: somebody follows it whose gateway lives, or it is a background job.
-- KEYS[1] prioritized  [2] wait
-- ARGV[1] base  [2] 1: absent gateways may be judged dead, 0: too early to say  [3] most jobs to look at
-- Returns its id, or '': there is none. Of more jobs than are looked at, none of them wanted, the last one that was: a later one may be.
local jobs = redis.call('LRANGE', KEYS[2], 0, ARGV[3] - 1)
local most = tonumber(ARGV[3]) - #jobs
if most > 0 then
  for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do jobs[#jobs + 1] = job end
end
for _, job in ipairs(jobs) do
  local h = redis.call('HMGET', ARGV[1] .. ':job:' .. job, 'fol', 'bg', 'dl', 'rec')
  if h[3] and not h[4] and (ARGV[2] ~= '1' or is_wanted(ARGV[1], h[1], h[2])) then return job end
end
return #jobs == tonumber(ARGV[3]) and jobs[#jobs] or ''
