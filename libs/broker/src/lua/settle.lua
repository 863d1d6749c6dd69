-- Ends a job from outside any attempt: cancelled by its last follower or by its owner, expired, failed.
-- KEYS[1] job hash
-- ARGV[1] base  [2] linger  [3] job id  [4] outcome  [5] ErrorInfo (JSON) or ''  [6] the follower that leaves, or '': unconditional
-- Returns {'settled', attempts begun, lane} | {'followed'} (others still want it) | {'ended'} | {'gone'}
local h = redis.call('HMGET', KEYS[1], 'dl', 'rec', 'fol', 'bg', 'lane')
if not h[1] then return {'gone'} end
if ARGV[6] ~= '' then
  local rest = ''
  each_follower(h[3], function(gateway)
    if gateway ~= ARGV[6] then rest = rest .. gateway .. ' ' end
  end)
  redis.call('HSET', KEYS[1], 'fol', rest)
  if not h[2] and (rest ~= '' or h[4] == '1') then return {'followed'} end
end
if h[2] then return {'ended'} end
return {'settled', tonumber(finish(ARGV[1], ARGV[3], ARGV[2], ARGV[4], ARGV[5])), h[5]}
