-- Creates a job and adds it to its lane, both or neither.
-- KEYS[1] job hash  [2] body  [3] lanes  [4] deadlines  [5] lane's wait; then those of BullMQ's add, in its order:
--      [6] marker  [7] meta  [8] id  [9] prioritized  [10] delayed  [11] completed  [12] active  [13] events  [14] pc; and
--      [15] bytes of lanes
-- ARGV[1] job id  [2] lane  [3] follower or ''  [4] ms to the deadline  [5] body or ''  [6] background 0|1  [7] streamed 0|1
--      [8] most jobs that may wait in the lane  [9] ms that the keys outlive the deadline  [10] prefix of the lane's keys
--      [11] envelope (JSON)  [12] priority  [13] dialect  [14] ms that it is kept after its end, or ''
--      [15] most bytes of the lane's living jobs  [16] most jobs that may wait or run in the lane, or '': no such bound
-- Returns {1, waiting, running}, without this one; repeated, {1, -1, -1}, and nothing is done twice
--      | {0, waiting, running, 'jobs' | 'bytes' | 'wait'}: refused, and which bound it met
if redis.call('EXISTS', KEYS[1]) == 1 then return {1, -1, -1} end
local waiting, running = redis.call('ZCARD', KEYS[9]) + redis.call('LLEN', KEYS[5]), redis.call('LLEN', KEYS[12])
local size = #ARGV[5] + #ARGV[11]
if waiting >= tonumber(ARGV[8]) then return {0, waiting, running, 'jobs'} end
if ARGV[16] ~= '' and waiting + running >= tonumber(ARGV[16]) then return {0, waiting, running, 'wait'} end
-- A lane with nothing in it has no bytes, whatever the sum says: it keeps those of jobs that expired while nobody swept.
if waiting + running == 0 then redis.call('HSET', KEYS[15], ARGV[2], size)
else
  if tonumber(redis.call('HGET', KEYS[15], ARGV[2]) or '0') + size > tonumber(ARGV[15]) then return {0, waiting, running, 'bytes'} end
  redis.call('HINCRBY', KEYS[15], ARGV[2], size)
end
local now = now_ms()
local deadline = now + tonumber(ARGV[4])
local lives = tonumber(ARGV[4]) + tonumber(ARGV[9])
local follower = ARGV[3] == '' and '' or ARGV[3] .. ' '
redis.call('HSET', KEYS[1], 'lane', ARGV[2], 'fol', follower, 'bg', ARGV[6], 'st', ARGV[7], 'at', now, 'dl', deadline, 'dia', ARGV[13], 'size', size)
if ARGV[14] ~= '' then redis.call('HSET', KEYS[1], 'keep', ARGV[14]) end
redis.call('PEXPIRE', KEYS[1], lives)
if ARGV[5] ~= '' then redis.call('SET', KEYS[2], ARGV[5], 'PX', lives) end
redis.call('ZADD', KEYS[4], deadline, ARGV[1])
-- BullMQ keeps 10,000 events of each queue by default; nobody here reads them.
if redis.call('SADD', KEYS[3], ARGV[2]) == 1 then redis.call('HSET', KEYS[7], 'opts.maxLenEvents', 50) end
local options = cmsgpack.pack({ priority = tonumber(ARGV[12]), attempts = 1 })
bullmq_addPrioritizedJob({ unpack(KEYS, 6, 14) }, { cmsgpack.pack({ ARGV[10], ARGV[1], 'j', now }), ARGV[11], options })
return {1, waiting, running}
