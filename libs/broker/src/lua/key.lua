-- Makes, changes or removes one API key, and tells all gateways.
-- KEYS[1] keys  [2] their version
-- ARGV[1] id  [2] its record as it was read, '' for none  [3] as it is to be, '' for none  [4] channel  [5] most keys
--      [6] id of another key that must be as it was read, or ''  [7] the record of that one  [8] 1: there must be no other key
-- Returns 1, also when it is so already | 0: it, or what must be so, is another by now | -1: there are as many as there may be
local held = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if held == ARGV[3] then return 1 end
if held ~= ARGV[2] then return 0 end
if ARGV[6] ~= '' and redis.call('HGET', KEYS[1], ARGV[6]) ~= ARGV[7] then return 0 end
if ARGV[8] == '1' and redis.call('HLEN', KEYS[1]) > 1 then return 0 end
if held == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return -1 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
redis.call('PUBLISH', ARGV[4], redis.call('INCR', KEYS[2]))
return 1
