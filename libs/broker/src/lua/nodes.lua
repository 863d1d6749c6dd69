-- The records of all living nodes; forgets those that have been gone for an hour.
-- KEYS[1] index  ARGV[1] base
-- Returns the records (JSON)
local records = {}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms() - 3600000)
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local record = redis.call('HGET', ARGV[1] .. ':node:' .. id, 'record')
  if record then records[#records + 1] = record end
end
return records
