-- What a request with a key stands for: the first says it, later ones are told, if they are the same request.
-- KEYS[1] claim  ARGV[1] fingerprint of the request  [2] id that it will have if it is the first  [3] ms that this is kept
-- Returns the id that it has | '': the key was used for another request
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'NX', 'PX', ARGV[3])
local fingerprint, id = string.match(redis.call('GET', KEYS[1]), '^(%S+) (.*)$')
return fingerprint == ARGV[1] and id or ''
