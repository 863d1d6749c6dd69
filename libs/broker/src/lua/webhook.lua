-- Common to the scripts about webhooks. Included behind job.lua.
--
-- Fields of an endpoint's hash:
--   own    whose it is             url    where it is told
--   events types that it is told of, with a space before and behind each; '': all of them
--   secret signs what it is told   at     registered (ms)
--   off    why it is told nothing more          lost   events that it was not told of, as too many waited for it
-- Fields of a delivery's hash, one event for one endpoint:
--   type, at (ms), data (JSON)     of the event
--   tries  begun                   step   how many have failed since it was last begun anew
--   claim  token of the dispatch whose gateway is at it
--   last   when the last try was over (ms)      status what it was answered (HTTP)   err   what was wrong with it
--   again  token of the last wish to begin it anew
--   state  `delivered` or `failed`: over; absent: it waits, in `pending` by when it is tried next
--
-- An endpoint is in `due` by the earliest of what waits for it.

local KEPT_MS = 604800000
local MOST_PENDING, MOST_PAST = 10000, 1000
-- A dispatch may be sent again within this time: it then answers as before, however short its claims live.
local RESENT_MS = 60000

local function due(base, endpoint)
  local first = redis.call('ZRANGE', base .. ':pending:' .. endpoint, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', base .. ':due', first[2], endpoint) else redis.call('ZREM', base .. ':due', endpoint) end
end

local function waits(base, endpoint, event, at)
  redis.call('ZADD', base .. ':pending:' .. endpoint, at, event)
  redis.call('PEXPIRE', base .. ':delivery:' .. endpoint .. ':' .. event, KEPT_MS)
end

-- A delivery is over: it is kept for a while, as one of the last.
local function over(base, endpoint, event, state, now)
  local key, past = base .. ':delivery:' .. endpoint .. ':', base .. ':past:' .. endpoint
  redis.call('HSET', key .. event, 'state', state)
  redis.call('PEXPIRE', key .. event, KEPT_MS)
  redis.call('ZREM', base .. ':pending:' .. endpoint, event)
  redis.call('ZADD', past, now, event)
  for _, old in ipairs(redis.call('ZRANGE', past, 0, -MOST_PAST - 1)) do
    redis.call('DEL', key .. old)
    redis.call('ZREM', past, old)
  end
  redis.call('ZREMRANGEBYSCORE', past, '-inf', now - KEPT_MS)
  redis.call('PEXPIRE', past, KEPT_MS)
end
