-- Common to the scripts of files and batches. Included before each of them, behind job.lua.
--
-- Fields of a file's hash:
--   own    whose it is            purpose  'batch' | 'batch_output'
--   name   as its client named it bytes    of its content
--   at     created (ms)           exp      when it expires (ms), or ''
--   store  where its content lies parts    JSON array of [content name, bytes]: its content is these, one behind the other
--   refs   batches that still read it      gone     1: it is deleted
--
-- Fields of a batch's hash:
--   own    whose it is            spec     what was asked for (JSON), never changed
--   store  where its files lie    at, dl   created, deadline (ms)
--   st     its state              t:STATE  when it came into that state (ms)
--   plan   JSON, once it is validated: models, and where its index lies
--   total, completed, failed, cancelled, expired   requests
--   errors JSON, of one that failed
--   n      leases granted         tok, til  token of the current lease, and until when it holds (ms)
--   out, err   ids of its files, once it has ended and where there is anything in them
--
-- Only who holds the lease writes results: into content of a name of its own, and then, by batch_commit, says how much of it counts and of
-- which requests these are the results. What was written and not committed counts for nothing.
--
-- What is deleted can be asked for no more; its content goes into the trash of its store, from which a gateway that has the store takes it.

-- How long it is known that a file has been deleted, ms: nothing that was sent before brings it back.
local TOMB_MS = 60000

local function to_trash(base, store, parts, at)
  for _, part in ipairs(cjson.decode(parts)) do redis.call('ZADD', base .. ':trash:' .. store, at, part[1]) end
end

local function drop_file(base, id)
  local key = base .. ':file:' .. id
  local h = redis.call('HMGET', key, 'own', 'store', 'parts', 'refs', 'gone')
  if not h[1] or h[5] then return end
  redis.call('HSET', key, 'gone', 1)
  redis.call('ZREM', base .. ':files', id)
  redis.call('ZREM', base .. ':files:' .. h[1], id)
  redis.call('ZREM', base .. ':files-expiring', id)
  -- A batch that reads it goes on with it, and lets it go at its end.
  if tonumber(h[4] or '0') > 0 then return end
  to_trash(base, h[2], h[3], now_ms())
  redis.call('PEXPIRE', key, TOMB_MS)
end

local function add_file(base, id, own, purpose, name, bytes, store, parts, lives)
  local key = base .. ':file:' .. id
  local now = now_ms()
  local expires = lives == '' and '' or now + tonumber(lives)
  redis.call('HSET', key, 'own', own, 'purpose', purpose, 'name', name, 'bytes', bytes, 'at', now, 'exp', expires, 'store', store, 'parts', parts)
  redis.call('ZADD', base .. ':files', now, id)
  redis.call('ZADD', base .. ':files:' .. own, now, id)
  if expires ~= '' then redis.call('ZADD', base .. ':files-expiring', expires, id) end
  for _, part in ipairs(cjson.decode(parts)) do redis.call('ZREM', base .. ':trash:' .. store, part[1]) end
end

local function is_over(state)
  return state == 'completed' or state == 'failed' or state == 'expired' or state == 'cancelled'
end

-- A batch reads this file no longer.
local function leave_file(base, id)
  local key = base .. ':file:' .. id
  local h = redis.call('HMGET', key, 'store', 'parts', 'refs', 'gone')
  if not h[1] then return end
  if redis.call('HINCRBY', key, 'refs', -1) > 0 or not h[4] then return end
  to_trash(base, h[1], h[2], now_ms())
  redis.call('PEXPIRE', key, TOMB_MS)
end
