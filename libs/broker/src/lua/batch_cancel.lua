-- Somebody wants a batch no more.
-- KEYS[1] batch hash
-- ARGV[1] whose it must be, or '': anybody's
-- Returns the state that it is in then, or '': there is no such batch, or it is another's
local h = redis.call('HMGET', KEYS[1], 'own', 'st')
if not h[1] or (ARGV[1] ~= '' and h[1] ~= ARGV[1]) then return '' end
if h[2] ~= 'validating' and h[2] ~= 'in_progress' then return h[2] end
redis.call('HSET', KEYS[1], 'st', 'cancelling', 't:cancelling', now_ms())
return 'cancelling'
