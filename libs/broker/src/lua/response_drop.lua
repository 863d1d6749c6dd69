-- Forgets a response. What its job has said is the job's (drop.lua); one that still runs is kept as any other.
-- KEYS[1] response hash  [2] job hash  [3] its owner's responses  [4] their bytes
-- ARGV[1] id  [2] fingerprint that it must have, or '': any
-- Returns 1
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'fp') ~= ARGV[2] then return 1 end
redis.call('DEL', KEYS[1])
forget_response(KEYS[3], KEYS[4], ARGV[1])
local h = redis.call('HMGET', KEYS[2], 'dl', 'rec', 'list', 'fp')
if h[1] and not h[2] and not h[3] and not h[4] then redis.call('HDEL', KEYS[2], 'keep') end
return 1
