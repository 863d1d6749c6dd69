-- Says which models are to be where.
-- KEYS[1] desired: v    version, counts the changes     doc  the state (JSON)     at  when it was said (ms)
--                  conf digest of what a configuration said last      mem  what was done for it (JSON)     rep  how that goes on (JSON)
-- ARGV[1] state  [2] digest where a configuration says so, else '': it says so only if it is not what one has said last
-- Returns {version, 1: it is another than before | 0}
local h = redis.call('HMGET', KEYS[1], 'v', 'doc', 'conf')
if ARGV[2] ~= '' then
  if h[3] == ARGV[2] then return {tonumber(h[1]), 0} end
  redis.call('HSET', KEYS[1], 'conf', ARGV[2])
end
if h[2] == ARGV[1] then return {tonumber(h[1]), 0} end
redis.call('HSET', KEYS[1], 'doc', ARGV[1], 'at', now_ms())
return {redis.call('HINCRBY', KEYS[1], 'v', 1), 1}
