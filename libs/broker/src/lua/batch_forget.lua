-- The results of these jobs are stored elsewhere: those that have ended are kept no longer.
-- KEYS job hashes
-- Returns 1
for _, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'rec') then redis.call('DEL', key, key .. ':log', key .. ':body') end
end
return 1
