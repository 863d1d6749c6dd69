-- Depth and age of lanes.
-- KEYS[3i-2] prioritized  [3i-1] wait  [3i] active
-- ARGV[1] base
-- Returns for each three numbers: waiting, ms that the job at its head has waited (0 for none), running
local answers, now = {}, now_ms()
for i = 1, #KEYS / 3 do
  local prioritized, wait = KEYS[3 * i - 2], KEYS[3 * i - 1]
  local head = redis.call('LINDEX', wait, -1) or redis.call('ZRANGE', prioritized, 0, 0)[1]
  local since = head and redis.call('HGET', ARGV[1] .. ':job:' .. head, 'at')
  answers[3 * i - 2] = redis.call('LLEN', wait) + redis.call('ZCARD', prioritized)
  answers[3 * i - 1] = since and math.max(0, now - tonumber(since)) or 0
  answers[3 * i] = redis.call('LLEN', KEYS[3 * i])
end
return answers
