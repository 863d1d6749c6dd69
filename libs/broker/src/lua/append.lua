-- Stores and publishes frames of many jobs of one worker; an entry with a record also ends its job, for BullMQ too.
-- KEYS[3i-2] job hash  [3i-1] log  [3i] body
-- ARGV[1] base  [2] linger  [3] most bytes of a log; then seven for each job i:
--      job id, attempt, lease token, number of the first frame, how many, frames (JSON array), record (JSON or '')
-- Returns for each: 'ok' (also when stored before) | 'stale' (a later attempt, or the lease given back) | 'ended' | 'full' |
-- the number expected instead | 'behind', 'gone': Redis has forgotten the attempt, or the job (see reclaim.lua)
local base, linger, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local answers, outbox, gateways = {}, {}, {}

-- BullMQ's bookkeeping. That the lock was lost meanwhile does not matter: our record stands, and whoever finds the job drops it.
local function finish_lane(job, lane, token)
  local p = base .. ':lane:' .. lane .. ':'
  local options = cmsgpack.pack({ token = token, keepJobs = { count = 0 }, lockDuration = 0, attempts = 1, maxMetricsSize = '' })
  bullmq_moveToFinished(
    { p .. 'wait', p .. 'active', p .. 'prioritized', p .. 'events', p .. 'stalled', p .. 'limiter', p .. 'delayed', p .. 'paused',
      p .. 'meta', p .. 'pc', p .. 'completed', p .. job, p .. 'metrics:completed', p .. 'marker' },
    { job, '0', 'returnvalue', 'null', 'completed', 0, p, options }
  )
end

local function store(i)
  local a = 3 + (i - 1) * 7
  local job, attempt, token = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local first, count, frames, record = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5]), ARGV[a + 6], ARGV[a + 7]
  local key, log = KEYS[3 * i - 2], KEYS[3 * i - 1]
  local h = redis.call('HMGET', key, 'att', 'tok', 'next', 'rec', 'bytes', 'st', 'fol', 'rtok', 'lane', 'keep', 'size', 'hook', 'list', 'own', 'lim')
  local number = tonumber(h[3] or '1')
  if h[4] then return h[8] == token and first < number and 'ok' or 'ended' end
  if not h[7] then return 'gone' end
  if tonumber(h[1] or '0') < tonumber(attempt) then return 'behind' end
  if h[1] ~= attempt or h[2] ~= token then return 'stale' end
  if first + count <= number then return 'ok' end
  if first ~= number then return number end
  local bytes = tonumber(h[5] or '0') + #frames
  if bytes > limit and record == '' then return 'full' end
  local ends = record ~= ''
  if ends and number == 1 then
    -- The whole answer in one call: it needs no stream of its own.
    redis.call('HSET', key, 'tail', frames, 'next', number + count, 'rec', record, 'rtok', token)
  else
    redis.call('XADD', log, first .. '-0', 'l', token, 'f', frames)
    if number == 1 then redis.call('PEXPIRE', log, redis.call('PTTL', key)) end
    if ends then redis.call('HSET', key, 'next', number + count, 'bytes', bytes, 'rec', record, 'rtok', token)
    else redis.call('HSET', key, 'next', number + count, 'bytes', bytes) end
    if number == 1 and h[13] and h[6] == '1' then redis.call('HSET', key, 'first', now_ms()) end
  end
  if ends then
    retire(base, job, h[10] or linger, h[9], h[11], number > 1, h[12], record, h[13])
    if h[15] then limiter().settle_use(base, h[14], job, h[15], record, now_ms()) end
    finish_lane(job, h[9], token)
  end
  if ends or h[6] == '1' then
    local text = message(job, attempt, token, first, frames)
    each_follower(h[7], function(gateway)
      local box = outbox[gateway]
      if not box then
        box = {}
        outbox[gateway] = box
        gateways[#gateways + 1] = gateway
      end
      box[#box + 1] = text
    end)
  end
  return 'ok'
end

for i = 1, #KEYS / 3 do answers[i] = store(i) end
for _, gateway in ipairs(gateways) do
  redis.call('PUBLISH', base .. ':replies:' .. gateway, '[' .. table.concat(outbox[gateway], ',') .. ']')
end
return answers
