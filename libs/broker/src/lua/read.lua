-- What a reader that has everything before frame `from` lacks.
-- KEYS[1] job hash  [2] log
-- ARGV[1] from  [2] most log entries
-- Returns {0} for a job that is not there, else {1, attempt, next frame}, then three for each entry: first, lease token, frames (JSON)
local h = redis.call('HMGET', KEYS[1], 'dl', 'att', 'next', 'rtok', 'tail')
if not h[1] then return {0} end
local from, number = tonumber(ARGV[1]), tonumber(h[3] or '1')
local answer = {1, tonumber(h[2] or '0'), number}
if from >= number then return answer end
if h[5] then
  answer[4], answer[5], answer[6] = 1, h[4] or '', h[5]
  return answer
end
-- An entry holds one frame or several: the one with `from` in it may begin before.
local start = redis.call('XREVRANGE', KEYS[2], from .. '-0', '-', 'COUNT', 1)[1]
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], start and start[1] or '-', '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1] = tonumber(string.match(entry[1], '^%d+'))
  answer[#answer + 1] = entry[2][2]
  answer[#answer + 1] = entry[2][4]
end
return answer
