-- How far many jobs are: one call behind every notification, for those that have been silent.
-- KEYS job hashes
-- Returns for each the number of its next frame, 0 for a job that is not there
local answers = {}
for i, key in ipairs(KEYS) do
  local h = redis.call('HMGET', key, 'dl', 'next')
  answers[i] = h[1] and tonumber(h[2] or '1') or 0
end
return answers
