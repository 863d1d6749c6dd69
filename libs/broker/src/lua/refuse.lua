-- Ends a job as failed that waits in its lane: what it waits for does not come.
-- KEYS[1] job hash  [2] the lane's prioritized  [3] the lane's wait
-- ARGV[1] base  [2] linger  [3] job id  [4] ErrorInfo (JSON)
-- Returns 1: it is over, and to be taken out of its lane | 0: it is not in its lane: somebody has taken it
if not redis.call('ZSCORE', KEYS[2], ARGV[3]) and not redis.call('LPOS', KEYS[3], ARGV[3]) then return 0 end
local h = redis.call('HMGET', KEYS[1], 'dl', 'rec')
if h[1] and not h[2] then finish(ARGV[1], ARGV[3], ARGV[2], 'failed', ARGV[4]) end
return 1
