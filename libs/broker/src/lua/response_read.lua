-- One kept response, and how far its job is.
-- KEYS[1] response hash  [2] job hash
-- ARGV[1] whose it must be, or '': anybody's  [2] 1: with its input items
-- Returns {0} for one that is not there or another's, else {1, owner, queued, background 0|1, streamed 0|1, out or '',
--      'gone' | 'queued' | 'in_progress' | 'ended', input items or ''}
local h = redis.call('HMGET', KEYS[1], 'own', 'queued', 'bg', 'st', 'out', ARGV[2] == '1' and 'in' or '-')
if not h[1] or (ARGV[1] ~= '' and h[1] ~= ARGV[1]) then return {0} end
local job = redis.call('HMGET', KEYS[2], 'dl', 'rec', 'att')
local state = 'queued'
if not job[1] then state = 'gone' elseif job[2] then state = 'ended' elseif tonumber(job[3] or '0') > 0 then state = 'in_progress' end
return {1, h[1], h[2], tonumber(h[3]), tonumber(h[4]), h[5] or '', state, h[6] or ''}
