-- An event that no other script tells webhooks of. That it is told again, with another token, makes no second event.
-- KEYS[1] said with this token
-- ARGV[1] base  [2] type  [3] owner  [4] id  [5] data (JSON)  [6] hook: '*', or the one endpoint that is told
-- Returns 1
if not redis.call('SET', KEYS[1], '', 'NX', 'PX', 10000) then return 1 end
announce(ARGV[1], ARGV[2], ARGV[3], ARGV[6], ARGV[4], ARGV[5])
return 1
