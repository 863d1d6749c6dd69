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
--   size   bytes of envelope and body, in the sum of its lane while it lives
--   tail   the frames (JSON array) of an answer that needed no log
--   rec    TerminalRecord (JSON): the job has ended      rtok  lease token that wrote it
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

-- After the record stands, once for each job: what an ended one still needs, and for how long.
local function retire(base, job, linger)
  local key = base .. ':job:' .. job
  local h = redis.call('HMGET', key, 'keep', 'size', 'lane')
  local keep = h[1] or linger
  if h[2] then redis.call('HINCRBY', base .. ':bytes', h[3], -h[2]) end
  redis.call('DEL', key .. ':body')
  redis.call('ZREM', base .. ':deadlines', job)
  redis.call('PEXPIRE', key, keep)
  redis.call('PEXPIRE', key .. ':log', keep)
end

-- Ends a job that has no record, from outside any attempt. `outcome` is a TerminalRecord's, `error` its ErrorInfo as JSON or ''.
-- Tells the followers, and the node if one may be running it.
local function finish(base, job, linger, outcome, error)
  local key = base .. ':job:' .. job
  local h = redis.call('HMGET', key, 'att', 'next', 'fol', 'node', 'tok')
  local attempt, number = h[1] or '0', tonumber(h[2] or '1')
  local record = '{"outcome":"' .. outcome .. '","attempt":' .. attempt
  if error ~= '' then record = record .. ',"error":' .. error end
  record = record .. '}'
  local frames = '[{"end":' .. record .. '}]'
  if number == 1 then redis.call('HSET', key, 'tail', frames)
  else redis.call('XADD', key .. ':log', number .. '-0', 'l', '', 'f', frames) end
  redis.call('HSET', key, 'rec', record, 'next', number + 1)
  retire(base, job, linger)
  each_follower(h[3], function(gateway)
    redis.call('PUBLISH', base .. ':replies:' .. gateway, '[' .. message(job, attempt, '', number, frames) .. ']')
  end)
  if h[5] and h[4] then redis.call('PUBLISH', base .. ':control:' .. h[4], '{"ended":"' .. job .. '"}') end
  return attempt
end
