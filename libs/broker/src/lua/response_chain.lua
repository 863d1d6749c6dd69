-- A conversation, from its last response back to its first. All of it is kept as long as if it had ended now.
-- KEYS[1] the last response's hash
-- ARGV[1] base  [2] id of the last one  [3] whose it must be, or '': anybody's  [4] most responses  [5] most bytes  [6] ms that they are kept
-- Returns {'ok', id, input items, response, id, ...} | {'gone', id} | {'open', id}: it has not been kept as it ended
--      | {'responses', n} | {'bytes', n}: there are more than so many
local key, id, bytes, answer = KEYS[1], ARGV[2], 0, {'ok'}
local links = {}
while id ~= '' do
  local h = redis.call('HMGET', key, 'own', 'in', 'out', 'prev')
  if not h[1] or (ARGV[3] ~= '' and h[1] ~= ARGV[3]) then return {'gone', id} end
  if not h[3] then return {'open', id} end
  bytes = bytes + #h[2] + #h[3]
  if #links >= tonumber(ARGV[4]) then return {'responses', tonumber(ARGV[4])} end
  if bytes > tonumber(ARGV[5]) then return {'bytes', tonumber(ARGV[5])} end
  links[#links + 1] = { key, h[1], id }
  answer[#answer + 1] = id
  answer[#answer + 1] = h[2]
  answer[#answer + 1] = h[3]
  id = h[4]
  key = ARGV[1] .. ':response:' .. id
end
local now, keep = now_ms(), tonumber(ARGV[6])
for _, link in ipairs(links) do
  if redis.call('PTTL', link[1]) < keep then
    redis.call('PEXPIRE', link[1], keep)
    local responses = ARGV[1] .. ':responses:' .. link[2]
    hold_response(responses, responses .. ':bytes', link[3], now, keep)
  end
end
return answer
