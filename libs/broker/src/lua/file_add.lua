-- Makes a file of content that has been written.
-- KEYS[1] file hash
-- ARGV[1] base  [2] id  [3] owner  [4] purpose  [5] name  [6] bytes  [7] store  [8] parts (JSON)  [9] ms until it expires, or ''
-- Returns {created (ms), when it expires (ms) or ''}; repeated, the same, also when it has been deleted since
if redis.call('EXISTS', KEYS[1]) == 0 then
  add_file(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9])
end
return redis.call('HMGET', KEYS[1], 'at', 'exp')
