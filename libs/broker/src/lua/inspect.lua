-- What is known of jobs.
-- KEYS job hashes
-- ARGV[1] base  [2] whose they must be, or '': anybody's; then the id of each job
-- Returns the time (ms); then for each job '' when it is not there or another's, else a list: owner, lane, dialect, streamed, background,
--      submitted, deadline, attempts, '1' when an attempt runs or '', node, began, first text, end, ErrorInfo of the last failed attempt,
--      record, ms that it is kept after its end or '', ms that its keys still live, jobs before it or -1, jobs that run in its lane, priority or ''
local answer = { now_ms() }
local function before(prefix, job)
  local rank = redis.call('ZRANK', prefix .. 'prioritized', job)
  local waiting = redis.call('LLEN', prefix .. 'wait')
  if rank then return rank + waiting end
  local place = redis.call('LPOS', prefix .. 'wait', job)
  return place and waiting - 1 - place or -1
end
for i, key in ipairs(KEYS) do
  local h = redis.call('HMGET', key, 'own', 'lane', 'dia', 'st', 'bg', 'at', 'dl', 'att', 'tok', 'node', 'began', 'first', 'fin', 'err', 'rec', 'keep', 'pri')
  if not h[7] or (ARGV[2] ~= '' and h[1] ~= ARGV[2]) then answer[i + 1] = ''
  else
    local priority = h[17] or ''
    for field = 1, 16 do h[field] = h[field] or '' end
    h[9] = h[9] ~= '' and '1' or ''
    h[17] = redis.call('PTTL', key)
    h[18], h[19] = -1, 0
    if h[15] == '' and h[9] == '' then
      local prefix = ARGV[1] .. ':lane:' .. h[2] .. ':'
      h[18], h[19] = before(prefix, ARGV[i + 2]), redis.call('LLEN', prefix .. 'active')
    end
    h[20] = priority
    answer[i + 1] = h
  end
end
return answer
