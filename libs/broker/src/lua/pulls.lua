-- Which nodes are to pull a model, and by which jobs: where it is being pulled already, that job is joined.
-- KEYS[1] the model's pulls: node -> `<job> <epoch ms of the claim>`
-- ARGV[1] base  [2] ms that a pull may take  [3] most nodes; then, for each node that may pull it, the best first:
--      [i] node  [i+1] id of its job, should it be a new one
-- Returns for each chosen node three: node, job id, 1: the job is a new one, to be submitted by the caller. Repeated: the same.
-- A job that is claimed has this long to be submitted, ms.
local GRACE = 10000
local now, most = now_ms(), tonumber(ARGV[3])
local chosen, taken = {}, {}
local function choose(node, job, new)
  taken[node] = true
  for _, each in ipairs({ node, job, new }) do table.insert(chosen, each) end
end
local function alive(claim)
  local job, at = string.match(claim, '^(%S+) (%d+)$')
  local h = redis.call('HMGET', ARGV[1] .. ':job:' .. job, 'dl', 'rec')
  if h[2] or (not h[1] and now - tonumber(at) > GRACE) then return nil end
  return job
end
for i = 4, #ARGV, 2 do
  local claim = #chosen / 3 < most and redis.call('HGET', KEYS[1], ARGV[i])
  local job = claim and alive(claim)
  if job then choose(ARGV[i], job, job == ARGV[i + 1] and 1 or 0) end
end
for i = 4, #ARGV, 2 do
  if #chosen / 3 < most and not taken[ARGV[i]] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. now)
    choose(ARGV[i], ARGV[i + 1], 1)
  end
end
if #chosen > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return chosen
