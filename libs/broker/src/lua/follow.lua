-- A gateway that has not submitted a job follows it, also after its end.
-- KEYS[1] job hash
-- ARGV[1] follower  [2] whose it must be, or '': anybody's
-- Returns {0} for a job that is not there or another's, else {1, dialect, streamed 0|1, next frame, ended 0|1, lane}
local h = redis.call('HMGET', KEYS[1], 'dia', 'st', 'next', 'rec', 'fol', 'lane', 'own')
if not h[1] or (ARGV[2] ~= '' and h[7] ~= ARGV[2]) then return {0} end
local known = false
each_follower(h[5], function(gateway) known = known or gateway == ARGV[1] end)
if not known and not h[4] then redis.call('HSET', KEYS[1], 'fol', h[5] .. ARGV[1] .. ' ') end
return {1, h[1], tonumber(h[2]), tonumber(h[3] or '1'), h[4] and 1 or 0, h[6]}
