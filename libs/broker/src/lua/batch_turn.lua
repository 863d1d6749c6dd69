-- Brings a batch from one state into the next, or leaves it there, and writes down what is known by then.
-- KEYS[1] batch hash  [2] trash
-- ARGV[1] lease token  [2] from  [3] to  [4] total, or ''  [5] plan (JSON), or ''  [6] content name that is in use from now on, or ''
-- Returns the state that it is in then: another one where somebody has changed it, '' when the lease is another's
local h = redis.call('HMGET', KEYS[1], 'tok', 'st')
if h[1] ~= ARGV[1] then return '' end
if h[2] ~= ARGV[2] then return h[2] end
if ARGV[2] ~= ARGV[3] then redis.call('HSET', KEYS[1], 'st', ARGV[3], 't:' .. ARGV[3], now_ms()) end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'total', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'plan', ARGV[5]) end
if ARGV[6] ~= '' then redis.call('ZREM', KEYS[2], ARGV[6]) end
return ARGV[3]
