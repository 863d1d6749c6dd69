-- Common to the scripts of kept responses: what one owner has of them. Two keys: a sorted set of ids by when each goes, and a hash of the
-- bytes that each counts, with their sum in `all`.

local function count_response(responses, sizes, id, before, size)
  redis.call('HSET', sizes, id, size)
  redis.call('HINCRBY', sizes, 'all', size - before)
end

local function forget_response(responses, sizes, id)
  local size = redis.call('HGET', sizes, id)
  redis.call('ZREM', responses, id)
  if not size then return end
  redis.call('HDEL', sizes, id)
  redis.call('HINCRBY', sizes, 'all', -size)
end

-- It goes `ms` from now. The keys of the owner outlive it.
local function hold_response(responses, sizes, id, now, ms)
  redis.call('ZADD', responses, now + ms, id)
  for _, key in ipairs({ responses, sizes }) do
    if redis.call('PTTL', key) < ms + 60000 then redis.call('PEXPIRE', key, ms + 60000) end
  end
end
