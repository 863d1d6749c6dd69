-- Which nodes are to pull a model, and by which jobs: where it is being pulled already, that job is joined; then come those where it was
-- given up before, and last those where it has just failed.
-- KEYS[1] the model's pulls: node -> `<job> <epoch ms of the claim>`
-- ARGV[1] base  [2] ms that a pull may take  [3] most nodes; then, for each node that may pull it, the best first:
--      [i] node  [i+1] id of its job, should it be a new one
-- Returns for each chosen node three: node, job id, 1: the job is a new one, to be submitted by the caller. Repeated: the same nodes and jobs.
-- A job that is claimed has this long to be submitted, ms.
local GRACE = 10000
local now, most = now_ms(), tonumber(ARGV[3])
local chosen = {}
-- Of a job that was claimed before: 'alive', 'failed', or 'left': it was given up, and a part of the model may be there.
local function state(job, at)
  local h = redis.call('HMGET', ARGV[1] .. ':job:' .. job, 'dl', 'rec')
  if h[2] then return string.find(h[2], '"outcome":"failed"', 1, true) and 'failed' or 'left' end
  return (h[1] or now - tonumber(at) <= GRACE) and 'alive' or 'left'
end
local states = { alive = {}, left = {}, none = {}, failed = {} }
for i = 4, #ARGV, 2 do
  local claim = redis.call('HGET', KEYS[1], ARGV[i])
  local job, at = string.match(claim or '', '^(%S+) (%d+)$')
  local known = job and state(job, at) or 'none'
  table.insert(states[known], { ARGV[i], known == 'alive' and job or ARGV[i + 1], ARGV[i + 1] })
end
for _, known in ipairs({ 'alive', 'left', 'none', 'failed' }) do
  for _, each in ipairs(states[known]) do
    if #chosen / 3 < most then
      local node, job, own = each[1], each[2], each[3]
      if known ~= 'alive' then redis.call('HSET', KEYS[1], node, job .. ' ' .. now) end
      for _, part in ipairs({ node, job, job == own and 1 or 0 }) do table.insert(chosen, part) end
    end
  end
end
if #chosen > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return chosen
