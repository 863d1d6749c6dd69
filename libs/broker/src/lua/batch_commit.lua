-- Results that have been written count from now on.
-- KEYS[1] batch hash  [2] done  [3] parts  [4] trash
-- ARGV[1] lease token  [2] ms of a lease; then how many of the results: [3] completed  [4] failed  [5] cancelled  [6] expired
--      [7] how many contents have grown; then of each of them: the name and bytes that count until now ('' and 0: none do), and those that
--      count in their place; then numbers of the requests, from 0
-- Returns 'ok' (also when sent before) | 'lost': the lease is another's | 'behind': other bytes count than these | 'twice': one of them has a result

-- What is read of a batch that runs may still be read so long after something else counts in its place, ms.
local REPLACED_MS = 300000

local h = redis.call('HMGET', KEYS[1], 'tok', 'st')
if h[1] ~= ARGV[1] or is_over(h[2]) then return 'lost' end
local function counts(name) return tonumber(redis.call('HGET', KEYS[3], name) or '0') end
local first = 8 + 4 * tonumber(ARGV[7])
local before, after = true, true
for i = 8, first - 1, 4 do
  if counts(ARGV[i]) ~= tonumber(ARGV[i + 1]) then before = false end
  if counts(ARGV[i + 2]) ~= tonumber(ARGV[i + 3]) then after = false end
end
if after then return 'ok' end
if not before then return 'behind' end
for i = first, #ARGV do
  if redis.call('GETBIT', KEYS[2], ARGV[i]) == 1 then return 'twice' end
end
for i = first, #ARGV do redis.call('SETBIT', KEYS[2], ARGV[i], 1) end
for i, name in ipairs({ 'completed', 'failed', 'cancelled', 'expired' }) do
  if ARGV[2 + i] ~= '0' then redis.call('HINCRBY', KEYS[1], name, ARGV[2 + i]) end
end
local now = now_ms()
for i = 8, first - 1, 4 do
  local old, new = ARGV[i], ARGV[i + 2]
  redis.call('HSET', KEYS[3], new, ARGV[i + 3])
  redis.call('ZREM', KEYS[4], new)
  if old ~= new and ARGV[i + 1] ~= '0' then
    redis.call('HDEL', KEYS[3], old)
    redis.call('ZADD', KEYS[4], now + REPLACED_MS, old)
  end
end
redis.call('HSET', KEYS[1], 'til', now + tonumber(ARGV[2]))
return 'ok'
