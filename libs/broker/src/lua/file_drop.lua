-- Deletes a file.
-- KEYS[1] file hash
-- ARGV[1] base  [2] id  [3] whose it must be, or '': anybody's
-- Returns 1, also when it was deleted a moment ago, or 0: there is no such file, or it is another's
local own = redis.call('HGET', KEYS[1], 'own')
if not own or (ARGV[3] ~= '' and own ~= ARGV[3]) then return 0 end
drop_file(ARGV[1], ARGV[2])
return 1
