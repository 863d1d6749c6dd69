-- Leases the oldest open batch that nobody runs and whose files lie in a store; where there is none, one that whoever has its store has not
-- ended long after its window.
-- KEYS[1] open batches
-- ARGV[1] base  [2] lease token  [3] ms of a lease  [4] store  [5] most batches that are looked at  [6] ms behind its deadline from which a batch is an orphan
-- Returns {id, number of the lease, 1: an orphan | 0}, or {}; repeated with the same token, the same
local now = now_ms()
local free, orphan
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[5]) - 1)) do
  local h = redis.call('HMGET', ARGV[1] .. ':batch:' .. id, 'store', 'tok', 'til', 'n', 'dl')
  if not h[1] then redis.call('ZREM', KEYS[1], id)
  elseif h[2] == ARGV[2] then return {id, tonumber(h[4]), h[1] == ARGV[4] and 0 or 1}
  elseif not h[2] or tonumber(h[3]) < now then
    if h[1] == ARGV[4] then free = free or id
    elseif tonumber(h[5]) + tonumber(ARGV[6]) < now then orphan = orphan or id end
  end
end
local id = free or orphan
if not id then return {} end
local key = ARGV[1] .. ':batch:' .. id
redis.call('HSET', key, 'tok', ARGV[2], 'til', now + tonumber(ARGV[3]))
return {id, redis.call('HINCRBY', key, 'n', 1), free and 0 or 1}
