-- Forgets an endpoint, and all that it was or was to be told.
-- KEYS[1] endpoint  [2] those of its owner  [3] all  [4] due  [5] pending  [6] past
-- ARGV[1] base  [2] id
-- Returns 1
for i = 5, 6 do
  for _, event in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do redis.call('DEL', ARGV[1] .. ':delivery:' .. ARGV[2] .. ':' .. event) end
  redis.call('DEL', KEYS[i])
end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[2])
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
return 1
