-- Keeps a response, before its job is submitted: what is told of it, and what it was given.
-- KEYS[1] response hash  [2] its owner's responses, by when they go  [3] bytes of each, and of `all`
-- ARGV[1] id (its job's)  [2] owner  [3] ms until it goes, if it never ends  [4] most bytes of one owner  [5] most responses of one owner
--      [6] the response as it waits (JSON)  [7] input items (JSON)  [8] the response before it or ''  [9] background 0|1  [10] streamed 0|1
--      [11] bytes set aside for its answer  [12] fingerprint of the request, or '': none is a repetition of it
-- Fields of the hash: own, queued, in, prev, bg, st, fp as given; size: what it counts; out: the response as it ended (JSON)
-- Returns {1, the response as it waits} (that of before, when it was kept before) | {0, 'bytes' | 'responses'}: the owner's bound that
--      it met | {2}: there is one of this id for another request
local h = redis.call('HMGET', KEYS[1], 'queued', 'fp')
if h[1] then return h[2] == ARGV[12] and {1, h[1]} or {2} end
local now = now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do forget_response(KEYS[2], KEYS[3], id) end
local size = #ARGV[6] + #ARGV[7] + tonumber(ARGV[11])
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return {0, 'responses'} end
if tonumber(redis.call('HGET', KEYS[3], 'all') or '0') + size > tonumber(ARGV[4]) then return {0, 'bytes'} end
redis.call('HSET', KEYS[1], 'own', ARGV[2], 'queued', ARGV[6], 'in', ARGV[7], 'prev', ARGV[8], 'bg', ARGV[9], 'st', ARGV[10], 'fp', ARGV[12], 'size', size)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
count_response(KEYS[2], KEYS[3], ARGV[1], 0, size)
hold_response(KEYS[2], KEYS[3], ARGV[1], now, tonumber(ARGV[3]))
return {1, ARGV[6]}
