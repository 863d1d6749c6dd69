-- Creates a job's hash. Sent in the same tick before BullMQ's own add; a refused job has no hash, so `begin` drops it.
-- KEYS[1] job hash  [2] body  [3] lanes  [4] deadlines  [5] lane's prioritized  [6] lane's wait  [7] lane's meta
-- ARGV[1] job id  [2] lane  [3] follower or ''  [4] ms to the deadline  [5] body or ''  [6] background 0|1
--      [7] streamed 0|1  [8] most jobs that may wait in the lane  [9] ms that the keys outlive the deadline
-- Returns {1, depth} | {0, depth} when the lane is full. Repeated: the same answer, nothing done twice.
if redis.call('EXISTS', KEYS[1]) == 1 then return {1, 0} end
local depth = redis.call('ZCARD', KEYS[5]) + redis.call('LLEN', KEYS[6])
if depth >= tonumber(ARGV[8]) then return {0, depth} end
local now = now_ms()
local deadline = now + tonumber(ARGV[4])
local lives = tonumber(ARGV[4]) + tonumber(ARGV[9])
local follower = ARGV[3] == '' and '' or ARGV[3] .. ' '
redis.call('HSET', KEYS[1], 'lane', ARGV[2], 'fol', follower, 'bg', ARGV[6], 'st', ARGV[7], 'at', now, 'dl', deadline)
redis.call('PEXPIRE', KEYS[1], lives)
if ARGV[5] ~= '' then redis.call('SET', KEYS[2], ARGV[5], 'PX', lives) end
redis.call('ZADD', KEYS[4], deadline, ARGV[1])
-- BullMQ keeps 10,000 events of each queue by default; nobody here reads them.
if redis.call('SADD', KEYS[3], ARGV[2]) == 1 then redis.call('HSET', KEYS[7], 'opts.maxLenEvents', 50) end
return {1, depth}
