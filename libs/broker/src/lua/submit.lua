-- Creates a job and adds it to its lane, both or neither.
-- KEYS[1] job hash  [2] body  [3] lanes  [4] deadlines  [5] lane's wait; then those of BullMQ's add, in its order:
--      [6] marker  [7] meta  [8] id  [9] prioritized  [10] delayed  [11] completed  [12] active  [13] events  [14] pc; and
--      [15] bytes of lanes  [16] lane's ranks  [17] lane's since; and of a job that is listed:
--      [18] list of its owner  [19] list of all  [20] until when each stands there
-- ARGV[1] job id  [2] lane  [3] follower or ''  [4] ms to the deadline  [5] body or ''  [6] background 0|1  [7] streamed 0|1
--      [8] most jobs that may wait in the lane  [9] ms that the keys outlive the deadline  [10] prefix of the lane's keys
--      [11] envelope (JSON)  [12] what it pays before it is served, in ranks  [13] dialect  [14] ms that it is kept after its end, or ''
--      [15] most bytes of the lane's living jobs  [16] most jobs that may wait or run in the lane, or '': no such bound
--      [17] owner  [18] hook (job.lua), or ''  [19] what it pays altogether
--      [20] fingerprint of the request, or '': none is a repetition of it  [21] who submits, new for each submission
--      [22] most jobs in the list of one owner  [23] priority
--      [24] limits of its owner's key (limit.lua), JSON, or ''
-- Returns {1, waiting, running}, without this one, and with limits the standing of the key (limit.lua); repeated, {1, -1, -1}, and nothing is done twice; with a fingerprint
--      {1, -1, -1, next frame, 1: another submission made it}, and it has one follower more, and is a background job if either is
--      | {0, waiting, running, 'jobs' | 'bytes' | 'wait' | 'kept'}: refused, and which bound it met
--      | {0, waiting, running, 'limit', which, ms until it may come again, standing}: refused by a limit
--      | {2, 'other'}: there is a job of this id for another request | {2, 'over'}: it was cancelled or deleted, ask for another id
if redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[20] == '' then return {1, -1, -1} end
  local h = redis.call('HMGET', KEYS[1], 'fp', 'sub', 'rec', 'dl', 'fol', 'next', 'bg')
  local other = h[2] ~= ARGV[21]
  if h[1] ~= ARGV[20] then return {2, 'other'} end
  if other and (not h[4] or (h[3] and string.find(h[3], '"outcome":"cancelled"', 1, true))) then
    -- The job after it is found by way of it, so it stays as long.
    local stays = ARGV[4] + ARGV[9] + (tonumber(ARGV[14]) or 0)
    if redis.call('PTTL', KEYS[1]) < stays then redis.call('PEXPIRE', KEYS[1], stays) end
    return {2, 'over'}
  end
  if not h[3] then
    local known = ARGV[3] == ''
    each_follower(h[5], function(gateway) known = known or gateway == ARGV[3] end)
    if not known then redis.call('HSET', KEYS[1], 'fol', h[5] .. ARGV[3] .. ' ') end
    if ARGV[6] == '1' and h[7] ~= '1' then
      redis.call('HSET', KEYS[1], 'bg', '1')
      if ARGV[18] ~= '' then redis.call('HSET', KEYS[1], 'hook', ARGV[18]) end
    end
  end
  return {1, -1, -1, tonumber(h[6] or '1'), other and 1 or 0}
end
local waiting, running = redis.call('ZCARD', KEYS[9]) + redis.call('LLEN', KEYS[5]), redis.call('LLEN', KEYS[12])
local size = #ARGV[5] + #ARGV[11]
if waiting >= tonumber(ARGV[8]) then return {0, waiting, running, 'jobs'} end
if ARGV[16] ~= '' and waiting + running >= tonumber(ARGV[16]) then return {0, waiting, running, 'wait'} end
if KEYS[18] and redis.call('ZCARD', KEYS[18]) >= tonumber(ARGV[22]) then return {0, waiting, running, 'kept'} end
local limits = ARGV[24] ~= '' and cjson.decode(ARGV[24])
local counted = limits and limiter()
if limits then
  local now = now_ms()
  local which, ms = counted.refused_by(limits, now)
  if which then return {0, waiting, running, 'limit', which, ms, counted.standing(limits, now)} end
end
-- A lane with nothing in it has no bytes, whatever the sum says: it keeps those of jobs that expired while nobody swept. Nor has anybody
-- paid anything there.
local empty = waiting + running == 0
if empty then
  redis.call('HSET', KEYS[15], ARGV[2], size)
  redis.call('DEL', KEYS[16], KEYS[17])
elseif redis.call('HINCRBY', KEYS[15], ARGV[2], size) > tonumber(ARGV[15]) then
  redis.call('HINCRBY', KEYS[15], ARGV[2], -size)
  return {0, waiting, running, 'bytes'}
end

-- Fair share: libs/core/src/scheduling/share.ts says the same, and why.
local MOST_RANK, RENUMBER_FROM = 2097151, 1048576
local served = empty and 0 or tonumber(redis.call('ZSCORE', KEYS[16], '*') or '0')
local function smaller(rank) return math.max(1, rank - served) end
if served >= RENUMBER_FROM then
  redis.call('ZREMRANGEBYSCORE', KEYS[16], '-inf', served)
  local paid = redis.call('ZRANGE', KEYS[16], 0, -1, 'WITHSCORES')
  for i = 1, #paid, 2 do redis.call('ZADD', KEYS[16], smaller(tonumber(paid[i + 1])), paid[i]) end
  local ranked = redis.call('ZRANGE', KEYS[9], 0, -1, 'WITHSCORES')
  for i = 1, #ranked, 2 do
    local score = tonumber(ranked[i + 1])
    local order = score % 0x100000000
    redis.call('ZADD', KEYS[9], smaller((score - order) / 0x100000000) * 0x100000000 + order, ranked[i])
  end
  -- BullMQ's own field too, from which one that is given back has its place.
  for _, list in ipairs({ redis.call('ZRANGE', KEYS[9], 0, -1), redis.call('LRANGE', KEYS[5], 0, -1), redis.call('LRANGE', KEYS[12], 0, -1) }) do
    for _, job in ipairs(list) do
      local rank = redis.call('HGET', ARGV[10] .. job, 'priority')
      if rank then redis.call('HSET', ARGV[10] .. job, 'priority', smaller(tonumber(rank))) end
    end
  end
  served = 0
end
local paid = not empty and redis.call('ZSCORE', KEYS[16], ARGV[17])
-- Who has paid less than is served now is as if he had paid nothing: he makes room for one who is new.
if not empty and not paid then redis.call('ZREMRANGEBYSCORE', KEYS[16], '-inf', '(' .. served) end
local start = math.max(served, tonumber(paid or '0'))
local rank = math.min(start + tonumber(ARGV[12]), MOST_RANK)
redis.call('ZADD', KEYS[16], math.min(start + tonumber(ARGV[19]), MOST_RANK), ARGV[17])

local now = now_ms()
local deadline = now + tonumber(ARGV[4])
local lives = tonumber(ARGV[4]) + tonumber(ARGV[9])
local follower = ARGV[3] == '' and '' or ARGV[3] .. ' '
redis.call('HSET', KEYS[1], 'lane', ARGV[2], 'fol', follower, 'bg', ARGV[6], 'st', ARGV[7], 'at', now, 'dl', deadline, 'dia', ARGV[13], 'size', size, 'own', ARGV[17])
if ARGV[14] ~= '' then redis.call('HSET', KEYS[1], 'keep', ARGV[14]) end
if ARGV[18] ~= '' then redis.call('HSET', KEYS[1], 'hook', ARGV[18]) end
if ARGV[20] ~= '' then redis.call('HSET', KEYS[1], 'fp', ARGV[20], 'sub', ARGV[21]) end
if KEYS[18] then
  redis.call('HSET', KEYS[1], 'list', ARGV[17], 'pri', ARGV[23])
  redis.call('ZADD', KEYS[18], now, ARGV[1])
  redis.call('ZADD', KEYS[19], now, ARGV[1])
  redis.call('ZADD', KEYS[20], now + lives, ARGV[17] .. ' ' .. ARGV[1])
end
if limits then redis.call('HSET', KEYS[1], 'lim', counted.charge(limits, now, ARGV[1], now + lives)) end
redis.call('PEXPIRE', KEYS[1], lives)
if ARGV[5] ~= '' then redis.call('SET', KEYS[2], ARGV[5], 'PX', lives) end
redis.call('ZADD', KEYS[4], deadline, ARGV[1])
redis.call('ZADD', KEYS[17], now, ARGV[1])
-- A lane that has jobs is known. BullMQ keeps 10,000 events of each queue by default; nobody here reads them.
if empty and redis.call('SADD', KEYS[3], ARGV[2]) == 1 then redis.call('HSET', KEYS[7], 'opts.maxLenEvents', 50) end
local options = cmsgpack.pack({ priority = rank, attempts = 1 })
bullmq_addPrioritizedJob({ unpack(KEYS, 6, 14) }, { cmsgpack.pack({ ARGV[10], ARGV[1], 'j', now }), ARGV[11], options })
return {1, waiting, running, limits and counted.standing(limits, now) or nil}
