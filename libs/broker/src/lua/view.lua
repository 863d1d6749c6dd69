-- Depth and age of lanes.
-- KEYS[4i-3] prioritized  [4i-2] wait  [4i-1] active  [4i] since
-- ARGV[1] base
-- Returns for each three numbers: waiting, ms that the one waiting longest has waited (0 for none), running. By fair share the one that
-- has waited longest need not be the next: what the stated bound is for is that it waits.
local answers, now = {}, now_ms()
for i = 1, #KEYS / 4 do
  local prioritized, wait = KEYS[4 * i - 3], KEYS[4 * i - 2]
  local oldest = tonumber(redis.call('ZRANGE', KEYS[4 * i], 0, 0, 'WITHSCORES')[2])
  -- Jobs of lost workers, which go first: a few at most.
  for _, job in ipairs({ redis.call('LINDEX', wait, 0) or nil, redis.call('LINDEX', wait, -1) or nil }) do
    local at = tonumber(redis.call('HGET', ARGV[1] .. ':job:' .. job, 'at'))
    if at and (not oldest or at < oldest) then oldest = at end
  end
  answers[3 * i - 2] = redis.call('LLEN', wait) + redis.call('ZCARD', prioritized)
  answers[3 * i - 1] = oldest and math.max(0, now - oldest) or 0
  answers[3 * i] = redis.call('LLEN', KEYS[4 * i - 1])
end
return answers
