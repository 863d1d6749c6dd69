-- Takes the turn to sweep a store: deletes the files that have expired, and tells what is to be removed from it.
-- KEYS[1] turn  [2] expiring  [3] trash
-- ARGV[1] base  [2] who  [3] ms of a turn  [4] most at once
-- Returns content names; none when it is another's turn. Whose turn it is may ask again: an answer may have been lost
if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3]) and redis.call('GET', KEYS[1]) ~= ARGV[2] then return {} end
local now = now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[4])) do
  drop_file(ARGV[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[4])
