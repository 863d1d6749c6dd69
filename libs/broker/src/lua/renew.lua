-- Renews the leases of one worker. A lock that ran out (a pause, a Redis that was away) is taken again only while BullMQ still
-- counts the job as active: then nobody else can have it.
-- KEYS[4i-3] job hash  [4i-2] lock  [4i-1] lane's stalled  [4i] lane's active
-- ARGV[1] base  [2] lock ms  [3] 1: absent gateways may be judged dead, 0: too early to say; then three for each:
--      job id, lease token, attempt
-- Returns for each: 'ok' | 'lost' | 'ended' | 'unwanted' | 'behind', 'gone': Redis has forgotten the attempt, or the job
local answers = {}
for i = 1, #KEYS / 4 do
  local key, lock, stalled, active = KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i]
  local job, token, attempt = ARGV[3 * i + 1], ARGV[3 * i + 2], tonumber(ARGV[3 * i + 3])
  local h = redis.call('HMGET', key, 'tok', 'rec', 'fol', 'bg', 'att')
  local holder = redis.call('GET', lock)
  if h[2] then answers[i] = 'ended'
  elseif not h[3] then answers[i] = 'gone'
  elseif tonumber(h[5] or '0') < attempt then answers[i] = 'behind'
  elseif h[1] ~= token or (holder and holder ~= token) or (not holder and not redis.call('LPOS', active, job)) then answers[i] = 'lost'
  else
    redis.call('SET', lock, token, 'PX', ARGV[2])
    redis.call('SREM', stalled, job)
    answers[i] = (ARGV[3] == '0' or is_wanted(ARGV[1], h[3], h[4])) and 'ok' or 'unwanted'
  end
end
return answers
