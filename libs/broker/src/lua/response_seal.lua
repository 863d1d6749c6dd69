-- Keeps a response as it ended. The first to do so counts; from then on its job's log is not needed to tell it.
-- KEYS[1] response hash  [2] job hash  [3] log  [4] its owner's responses  [5] their bytes
-- ARGV[1] id  [2] the response (JSON)  [3] ms that it is kept  [4] ms that its job still is, or '': as long. One that is
--      listed, or found by its key, is kept as it was promised.
-- Returns 1, or 0 when it is not there
local h = redis.call('HMGET', KEYS[1], 'queued', 'in', 'size', 'out')
if not h[1] then return 0 end
if h[4] then return 1 end
local size = #h[1] + #h[2] + #ARGV[2]
redis.call('HSET', KEYS[1], 'out', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- Who repeats a request with a key is answered from its job.
if ARGV[4] == '' or redis.call('HEXISTS', KEYS[2], 'fp') == 1 then size = size + tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
elseif redis.call('HEXISTS', KEYS[2], 'list') + redis.call('HEXISTS', KEYS[2], 'fp') == 0 then
  for i = 2, 3 do
    if redis.call('PTTL', KEYS[i]) > tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
  end
end
redis.call('HSET', KEYS[1], 'size', size)
count_response(KEYS[4], KEYS[5], ARGV[1], tonumber(h[3]), size)
hold_response(KEYS[4], KEYS[5], ARGV[1], now_ms(), tonumber(ARGV[3]))
return 1
