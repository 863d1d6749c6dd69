-- Hands what has ended to the endpoints that are to be told, and gives a gateway some of what is due. What a gateway does not answer for
-- within `lease` is due again: it has died.
-- KEYS[1] outbox  [2] due  [3] claimed by this token
-- ARGV[1] base  [2] token  [3] lease (ms)  [4] most at once  [5] most of one endpoint at once  [6] most of one owner at once
--      [7] JSON: how many this gateway has under way of each endpoint  [8] the same of each owner
-- Returns {events handed on, ms by Redis' clock}, then for each delivery a list: endpoint, event, owner, url, secret, type, at, data, tries, step.
-- Repeated with the same token: the same deliveries.
local base, token, room = ARGV[1], ARGV[2], tonumber(ARGV[4])
local now = now_ms()
local answer = {}

local function hand(event)
  local id = 'msg_' .. event.id
  for _, endpoint in ipairs(event.hook == '*' and redis.call('SMEMBERS', base .. ':webhooks:' .. event.own) or { event.hook }) do
    local h = redis.call('HMGET', base .. ':webhook:' .. endpoint, 'own', 'events', 'off')
    local key = base .. ':delivery:' .. endpoint .. ':' .. id
    local wanted = h[1] and not h[3] and (event.hook ~= '*' or h[2] == '' or string.find(h[2], ' ' .. event.type .. ' ', 1, true))
    if wanted and redis.call('EXISTS', key) == 0 then
      if redis.call('ZCARD', base .. ':pending:' .. endpoint) >= MOST_PENDING then redis.call('HINCRBY', base .. ':webhook:' .. endpoint, 'lost', 1)
      else
        redis.call('HSET', key, 'type', event.type, 'at', event.at, 'data', event.data)
        waits(base, endpoint, id, now)
        due(base, endpoint)
      end
    end
  end
end

local function give(endpoint, event)
  local h = redis.call('HMGET', base .. ':webhook:' .. endpoint, 'own', 'url', 'secret')
  local d = redis.call('HMGET', base .. ':delivery:' .. endpoint .. ':' .. event, 'type', 'at', 'data', 'tries', 'step', 'claim')
  if h[1] and d[6] == token then answer[#answer + 1] = { endpoint, event, h[1], h[2], h[3], d[1], tonumber(d[2]), d[3], tonumber(d[4]), tonumber(d[5] or '0') } end
end

local function claim(endpoint, event)
  local key = base .. ':delivery:' .. endpoint .. ':' .. event
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', base .. ':pending:' .. endpoint, event) return false end
  redis.call('HSET', key, 'claim', token)
  redis.call('HINCRBY', key, 'tries', 1)
  redis.call('ZADD', base .. ':pending:' .. endpoint, now + tonumber(ARGV[3]), event)
  return true
end

-- A few at a time: each may be for all webhooks of an owner, and Redis does nothing else meanwhile.
local events = redis.call('LRANGE', KEYS[1], 0, 49)
for _, text in ipairs(events) do hand(cjson.decode(text)) end
if #events > 0 then redis.call('LTRIM', KEYS[1], #events, -1) end

local claimed = redis.call('GET', KEYS[3])
if claimed then
  for _, each in ipairs(cjson.decode(claimed)) do give(each[1], each[2]) end
  return { #events, now, unpack(answer) }
end
claimed = {}
local of_endpoint, of_owner = cjson.decode(ARGV[7]), cjson.decode(ARGV[8])
for _, endpoint in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 500)) do
  if #claimed >= room then break end
  local h = redis.call('HMGET', base .. ':webhook:' .. endpoint, 'own', 'off')
  local pending = base .. ':pending:' .. endpoint
  if not h[1] then redis.call('DEL', pending)
  elseif h[2] then
    -- Nothing more is told to it; what waits is over, some of it at a time.
    for _, event in ipairs(redis.call('ZRANGE', pending, 0, 99)) do over(base, endpoint, event, 'failed', now) end
  else
    local free = math.min(tonumber(ARGV[5]) - (of_endpoint[endpoint] or 0), tonumber(ARGV[6]) - (of_owner[h[1]] or 0), room - #claimed)
    if free > 0 then
      for _, event in ipairs(redis.call('ZRANGEBYSCORE', pending, '-inf', now, 'LIMIT', 0, free)) do
        if claim(endpoint, event) then
          claimed[#claimed + 1] = { endpoint, event }
          of_owner[h[1]] = (of_owner[h[1]] or 0) + 1
          give(endpoint, event)
        end
      end
    end
  end
  due(base, endpoint)
end
if #claimed > 0 then redis.call('SET', KEYS[3], cjson.encode(claimed), 'PX', math.max(RESENT_MS, tonumber(ARGV[3]))) end
return { #events, now, unpack(answer) }
