-- Takes a lane away in which nothing is. Its next job makes it known again (submit.lua).
-- KEYS[1] lanes  [2] bytes of lanes  [3] lane's prioritized  [4] wait  [5] active  [6] delayed; then what such a lane leaves behind
-- ARGV[1] lane
-- Returns 1: it is not there any more | 0: something is in it
for i = 3, 6 do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', unpack(KEYS, 7))
return 1
