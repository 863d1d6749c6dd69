-- Common to all scripts: a job's hash, and how its end is written. Included before each of them.
--
-- Fields of a job's hash:
--   lane   its lane            fol    followers: gateway ids, each followed by a space
--   st     1: streamed         bg     1: background, wanted without followers
--   at     submitted (ms)      dl     deadline (ms), both by Redis' clock
--   att    attempts begun      starts those that count against the limit
--   tok    lease token of the current attempt, absent when nobody holds it
--   node   who runs it         next   number of the next frame (from 1)
--   bytes  stored frame bytes  err    ErrorInfo (JSON) of the last failed attempt
--   dia    its dialect            keep   ms that it is kept after its end, absent: linger
--   own    whose it is: who may read it
--   hook   its end is an event for webhooks: `*` for those of its owner, or the id of one; absent: no event
--   list   in whose list it stands, absent: in none          pri    priority of a listed job
--   began  first attempt (ms)     first  first text of a listed stream (ms)     fin   end of a listed job (ms); Redis' clock
--   fp     fingerprint of the request of which this is the only job             sub   the submission that made it
--   lim    what it was charged, where its owner's key has limits (limit.lua)
--   size   bytes of envelope and body, in the sum of its lane while it lives
--   tail   the frames (JSON array) of an answer that needed no log
--   rec    TerminalRecord (JSON): the job has ended      rtok  lease token that wrote it
--
-- Beside BullMQ's keys, a lane has two of ours:
--   ranks  sorted set: owners by what they have paid, and `*` by the rank that is served; what fair share is reckoned from
--   since  sorted set: its waiting jobs by `at`, but for those that BullMQ's stalled check has put back into `wait`
--
-- Throughout: base = prefix of all keys, linger = ms that an ended job is kept.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function each_follower(followers, visit)
  for gateway in string.gmatch(followers or '', '%S+') do visit(gateway) end
end

-- A job nobody waits for: not a background job, and no follower whose gateway lives.
local function is_wanted(base, followers, background)
  if background == '1' then return true end
  local wanted = false
  each_follower(followers, function(gateway)
    if redis.call('EXISTS', base .. ':gateway:' .. gateway) == 1 then wanted = true end
  end)
  return wanted
end

local function message(job, attempt, lease, first, frames)
  return '{"job":"' .. job .. '","attempt":' .. attempt .. ',"lease":"' .. lease .. '","first":' .. first .. ',"frames":' .. frames .. '}'
end

-- Something has ended of which webhooks are to be told: for a gateway to hand to the endpoints (dispatch.lua). One that nobody would
-- be told of is not kept; of more than gateways take, the oldest go.
local function announce(base, type, owner, hook, id, data)
  if hook == '*' and redis.call('EXISTS', base .. ':webhooks:' .. owner) == 0 then return end
  local outbox = base .. ':outbox'
  local at = string.format('%.0f', now_ms())
  local count = redis.call('RPUSH', outbox, cjson.encode({ type = type, own = owner, hook = hook, id = id, at = at, data = data }))
  if count > 100000 then redis.call('LTRIM', outbox, count - 100000, -1) end
end

-- After the record stands, once for each job: what an ended one still needs, and for `keep` ms. `size`, `lane`, `hook` and `list` are its own.
local function retire(base, job, keep, lane, size, logged, hook, record, list)
  local key = base .. ':job:' .. job
  if hook then
    local outcome = string.match(record, '"outcome":"(%a+)"')
    announce(base, 'job.' .. outcome, redis.call('HGET', key, 'own'), hook, job, '{"id":"' .. job .. '"}')
  end
  if size then redis.call('HINCRBY', base .. ':bytes', lane, -size) end
  redis.call('DEL', key .. ':body')
  redis.call('ZREM', base .. ':deadlines', job)
  if lane then redis.call('ZREM', base .. ':lane:' .. lane .. ':since', job) end
  redis.call('PEXPIRE', key, keep)
  if logged then redis.call('PEXPIRE', key .. ':log', keep) end
  if list then
    local now = now_ms()
    redis.call('HSET', key, 'fin', now)
    redis.call('ZADD', base .. ':jobs:until', 'XX', now + keep, list .. ' ' .. job)
  end
end

-- Ends a job that has no record, from outside any attempt. `outcome` is a TerminalRecord's, `error` its ErrorInfo as JSON or ''.
-- Tells the followers, and the node if one may be running it.
local function finish(base, job, linger, outcome, error)
  local key = base .. ':job:' .. job
  local h = redis.call('HMGET', key, 'att', 'next', 'fol', 'node', 'tok', 'keep', 'lane', 'size', 'hook', 'list', 'own', 'lim')
  local attempt, number = h[1] or '0', tonumber(h[2] or '1')
  local record = '{"outcome":"' .. outcome .. '","attempt":' .. attempt
  if error ~= '' then record = record .. ',"error":' .. error end
  record = record .. '}'
  local frames = '[{"end":' .. record .. '}]'
  if number == 1 then redis.call('HSET', key, 'tail', frames)
  else redis.call('XADD', key .. ':log', number .. '-0', 'l', '', 'f', frames) end
  redis.call('HSET', key, 'rec', record, 'next', number + 1)
  retire(base, job, h[6] or linger, h[7], h[8], number > 1, h[9], record, h[10])
  if h[12] then limiter().settle_use(base, h[11], job, h[12], record, now_ms()) end
  each_follower(h[3], function(gateway)
    redis.call('PUBLISH', base .. ':replies:' .. gateway, '[' .. message(job, attempt, '', number, frames) .. ']')
  end)
  if h[5] and h[4] then redis.call('PUBLISH', base .. ':control:' .. h[4], '{"ended":"' .. job .. '"}') end
  return attempt
end
