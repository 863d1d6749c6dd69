-- What keys with limits use up. Included before `job.lua`; a job of a key without limits never comes here.
--
-- use = <base>:use:<owner>, a hash of which a minute's part counts by seconds:
--   r<second> t<second>  requests, tokens of one second         rfrom tfrom  the first second that is counted
--   rsum tsum            of all that are counted                day dsum     a day (since 1970, UTC), and its tokens
-- use:open, use:new      sorted sets: its jobs that have not ended, and those that no node has begun, by when their keys expire
--
-- What is counted is this second and the 60 before it. A minute, wherever it begins, lies within them: nobody ever has more in one than the
-- limit, and whoever always has as much as he may has at most a sixtieth less.
--
-- limits = { use, rpm, tpm, tpd, open, new, tokens: what the job is expected to cost,
--   jobs: 1, or 0 for one that is no request and no job by itself }; absent: no such limit
-- lim, a field of its job: second of the charge, tokens, and what was counted: t, d, j
--
-- All of it is made only where it is called for: most jobs' keys have no limits.

local function limiter()
  local WINDOW = 60
  local DAY = 86400

  -- What is in the window, and its first second.
  local function in_window(use, kind, second)
    local h = redis.call('HMGET', use, kind .. 'from', kind .. 'sum')
    local from, sum, oldest = tonumber(h[1] or second), tonumber(h[2] or '0'), second - WINDOW
    if from >= oldest then return sum, from end
    local fields = {}
    for each = from, math.min(oldest - 1, from + WINDOW) do fields[#fields + 1] = kind .. each end
    for _, count in ipairs(redis.call('HMGET', use, unpack(fields))) do sum = sum - tonumber(count or '0') end
    redis.call('HDEL', use, unpack(fields))
    redis.call('HSET', use, kind .. 'from', oldest, kind .. 'sum', sum)
    return sum, oldest
  end

  -- `from`: as in_window says. A clock that was put back counts for the second that it had come to.
  local function count_in(use, kind, second, from, amount)
    redis.call('HINCRBY', use, kind .. math.max(second, from), amount)
    redis.call('HSET', use, kind .. 'from', from)
    return redis.call('HINCRBY', use, kind .. 'sum', amount)
  end

  -- ms until so much of what is counted has left the window.
  local function leaves_in(use, kind, now, amount)
    local oldest, fields, gone = math.floor(now / 1000) - WINDOW, {}, 0
    for each = oldest, oldest + WINDOW do fields[#fields + 1] = kind .. each end
    for i, count in ipairs(redis.call('HMGET', use, unpack(fields))) do
      gone = gone + tonumber(count or '0')
      if gone >= amount then return (oldest + i + WINDOW) * 1000 - now end
    end
    return (WINDOW + 1) * 1000
  end

  local function of_day(use, day)
    local h = redis.call('HMGET', use, 'day', 'dsum')
    return h[1] and tonumber(h[1]) >= day and tonumber(h[2]) or 0
  end

  local function keep_use(use, daily)
    redis.call('PEXPIRE', use, daily and 2 * DAY * 1000 or 2 * WINDOW * 1000)
  end

  -- What is used of each minute's and the day's limit, and ms to midnight.
  local function standing(limits, now)
    local second = math.floor(now / 1000)
    return {
      limits.rpm and in_window(limits.use, 'r', second) or 0, limits.tpm and in_window(limits.use, 't', second) or 0,
      limits.tpd and of_day(limits.use, math.floor(second / DAY)) or 0, (math.floor(second / DAY) + 1) * DAY * 1000 - now,
    }
  end

  -- Which limit a job would break, and ms until it may come again; nothing when it may be charged.
  local function refused_by(limits, now)
    local use, second = limits.use, math.floor(now / 1000)
    if limits.jobs == 1 then
      if limits.rpm then
        local over = in_window(use, 'r', second) + 1 - limits.rpm
        if over > 0 then return 'requests', leaves_in(use, 'r', now, over) end
      end
      for name, most in pairs({ open = limits.open, new = limits.new }) do
        redis.call('ZREMRANGEBYSCORE', use .. ':' .. name, '-inf', now)
        if redis.call('ZCARD', use .. ':' .. name) >= most then return name, 1000 end
      end
    end
    -- One that alone would be too much is let in when there is nothing else.
    if limits.tpm then
      local over = in_window(use, 't', second) + math.min(limits.tokens, limits.tpm) - limits.tpm
      if over > 0 then return 'tokens', leaves_in(use, 't', now, over) end
    end
    if limits.tpd and of_day(use, math.floor(second / DAY)) + math.min(limits.tokens, limits.tpd) > limits.tpd then
      return 'day', (math.floor(second / DAY) + 1) * DAY * 1000 - now
    end
  end

  -- Answers the job's field `lim`. `ends`: when its keys expire.
  local function charge(limits, now, job, ends)
    local use, second = limits.use, math.floor(now / 1000)
    if limits.tpm then
      local _, from = in_window(use, 't', second)
      count_in(use, 't', second, from, limits.tokens)
    end
    if limits.tpd then
      local day = math.floor(second / DAY)
      redis.call('HSET', use, 'dsum', of_day(use, day) + limits.tokens, 'day', day)
    end
    if limits.jobs == 1 then
      if limits.rpm then
        local _, from = in_window(use, 'r', second)
        count_in(use, 'r', second, from, 1)
      end
      for _, name in ipairs({ ':open', ':new' }) do
        redis.call('ZADD', use .. name, ends, job)
        redis.call('PEXPIRE', use .. name, math.max(ends - now, redis.call('PTTL', use .. name)))
      end
    end
    keep_use(use, limits.tpd)
    return second .. ' ' .. limits.tokens .. ' ' .. (limits.tpm and 't' or '') .. (limits.tpd and 'd' or '') .. (limits.jobs == 1 and 'j' or '')
  end

  -- A node has begun the job.
  local function begun(base, owner, job) redis.call('ZREM', base .. ':use:' .. owner .. ':new', job) end

  -- The job's record stands: what it was charged becomes what it has used. One that failed, or was never begun, has used nothing; of one that
  -- was broken off, or whose engine does not count, nothing better than the charge is known.
  local function settle_use(base, owner, job, lim, record, now)
    local use = base .. ':use:' .. owner
    local charged_at, tokens, what = string.match(lim, '^(%d+) (%d+) (%a*)$')
    charged_at, tokens = tonumber(charged_at), tonumber(tokens)
    if string.find(what, 'j') then
      redis.call('ZREM', use .. ':open', job)
      redis.call('ZREM', use .. ':new', job)
    end
    local r = cjson.decode(record)
    local used = tokens
    if r.outcome == 'completed' then
      if r.usage then used = r.usage.promptTokens + r.usage.completionTokens end
    elseif r.outcome == 'failed' or r.attempt == 0 then used = 0 end
    local more, second = used - tokens, math.floor(now / 1000)
    if more == 0 then return end
    if string.find(what, 't') then
      local _, from = in_window(use, 't', second)
      if more > 0 then count_in(use, 't', second, from, more)
      elseif charged_at >= from then count_in(use, 't', charged_at, from, more) end
    end
    if string.find(what, 'd') then
      local day = math.floor(second / DAY)
      if more > 0 or math.floor(charged_at / DAY) == day then redis.call('HSET', use, 'dsum', math.max(0, of_day(use, day) + more), 'day', day) end
    end
    keep_use(use, string.find(what, 'd'))
  end

  return { standing = standing, refused_by = refused_by, charge = charge, begun = begun, settle_use = settle_use }
end
