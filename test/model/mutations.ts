/** One check taken away from one script: a test that claims to watch over it must then fail. */
export interface Mutation {
  name: string
  /** A file of `libs/broker/src/lua`. */
  file: string
  /** Stands exactly once in the file. */
  from: string
  to: string
  /** What goes wrong without it, and so why it must be found. */
  why: string
  /** Found in one of some thousand histories only. */
  seldom?: true
}

/** The checks that the promises rest on. Whoever runs real processes can see each by what clients and engines then tell. */
export const KEY_MUTATIONS: readonly Mutation[] = [
  {
    // Lease and attempt are granted in one step, so there is no lock to look at: what makes a lock count is that the attempt is bound to its token.
    name: 'begin: the attempt belongs to who has the lock',
    file: 'take.lua',
    from: "'tok', token, 'node'",
    to: "'tok', h[2] or token, 'node'",
    why: 'who lost the lock (killed, frozen) keeps the right to write: it writes on after the next attempt has begun, whose own frames are refused until its starts are used up',
  },
  {
    name: 'append: fencing',
    file: 'append.lua',
    from: "if h[1] ~= attempt or h[2] ~= token then return 'stale' end",
    to: '',
    why: 'a worker that was frozen and wakes writes into the answer of the attempt after it',
  },
  {
    name: 'append: the frame number',
    file: 'append.lua',
    from: 'if first ~= number then return number end',
    to: '',
    why: 'frames that Redis has forgotten are passed over: a gap that no reader can fill',
  },
  {
    name: 'append: what was stored before is not stored again',
    file: 'append.lua',
    from: "if first + count <= number then return 'ok' end",
    to: 'if first + count <= number then first = number end',
    why: 'a call whose answer was lost is sent again, and its text stands twice',
  },
  {
    name: 'settle: only a job without a record',
    file: 'settle.lua',
    from: "if h[2] then return {'ended'} end",
    to: '',
    why: 'a client that leaves just when its answer has ended overwrites the record: completed becomes cancelled',
  },
  {
    name: 'sweep: passed deadlines',
    file: 'sweep.lua',
    from: "finish(ARGV[1], job, ARGV[2], 'expired', ARGV[5])",
    to: '',
    why: 'a job that no worker takes never ends',
  },
]

/** More checks, each of which the model must find missing. Real processes may not: another check behind it keeps the promises. */
export const MORE_MUTATIONS: readonly Mutation[] = [
  {
    name: "follow: only its owner's",
    file: 'follow.lua',
    from: "or (ARGV[2] ~= '' and h[7] ~= ARGV[2])",
    to: '',
    why: 'whoever knows the id of a job reads its answer',
  },
  {
    name: 'append: only a job without a record',
    file: 'append.lua',
    from: "if h[4] then return h[8] == token and first < number and 'ok' or 'ended' end",
    to: '',
    why: 'frames and a second record behind the end',
  },
  {
    name: 'append: the end that was stored before is answered as stored',
    file: 'append.lua',
    from: "h[8] == token and first < number and 'ok' or 'ended'",
    to: "'ended'",
    why: 'a worker that is not answered believes that somebody else has ended its job',
  },
  {
    name: 'append: an attempt that Redis has forgotten',
    file: 'append.lua',
    from: "if tonumber(h[1] or '0') < tonumber(attempt) then return 'behind' end",
    to: '',
    why: 'after a kill of Redis every running attempt is given up instead of reclaimed',
  },
  {
    name: 'append: a log that is full',
    file: 'append.lua',
    from: "if bytes > limit and record == '' then return 'full' end",
    to: '',
    why: 'the log has no bound',
  },
  {
    name: 'take sent again: only who still has the lock',
    file: 'take.lua',
    from: "if redis.call('GET', ARGV[3] .. job .. ':lock') ~= token then return {'empty'} end",
    to: '',
    why: 'a take that is sent again late is granted an attempt of a job that somebody else runs',
  },
  {
    name: 'take: what was taken by this token',
    file: 'take.lua',
    from: "local job = redis.call('GET', KEYS[12])",
    to: 'local job = false',
    why: 'a take that is sent again takes a second job, and nobody runs the first',
  },
  {
    name: 'take: only a job without a record',
    file: 'take.lua',
    from: "if h[1] then return {'ended', job} end",
    to: '',
    why: 'a job that was cancelled while it waited reaches an engine',
  },
  {
    name: 'take: three starts',
    file: 'take.lua',
    from: 'if starts >= tonumber(ARGV[8]) then',
    to: 'if false then',
    why: 'a job that kills its worker kills one after the other',
  },
  {
    name: 'take: somebody wants it',
    file: 'take.lua',
    from: "if ARGV[11] == '1' and not is_wanted(base, h[7], h[8]) then",
    to: 'if false then',
    why: 'the jobs of a gateway that has died are still run',
  },
  {
    name: 'submit: only once',
    file: 'submit.lua',
    from: "if redis.call('EXISTS', KEYS[1]) == 1 then",
    to: 'if false then',
    why: 'a submit that is sent again sets a running job back to its beginning',
  },
  {
    name: 'submit again: only the same request',
    file: 'submit.lua',
    from: "if h[1] ~= ARGV[20] then return {2, 'other'} end",
    to: '',
    why: 'a client gets the answer to another request of its own',
  },
  {
    name: 'submit again: who repeats it wants it',
    file: 'submit.lua',
    from: "if not known then redis.call('HSET', KEYS[1], 'fol', h[5] .. ARGV[3] .. ' ') end",
    to: '',
    why: 'the job ends when its first client leaves, although a second one waits for it',
  },
  {
    name: 'submit again: a job that was handed in goes on without anybody',
    file: 'submit.lua',
    from: "redis.call('HSET', KEYS[1], 'bg', '1')",
    to: '',
    why: 'a job that was promised to go on ends with the client that waited for it',
  },
  {
    name: 'submit again: what was sent twice is no repetition',
    file: 'submit.lua',
    from: 'local other = h[2] ~= ARGV[21]',
    to: 'local other = true',
    why: 'a submit that is sent again after its job was cancelled makes another job that nobody wants',
  },
  {
    name: 'release: only by the holder',
    file: 'release.lua',
    from: 'if h[2] ~= ARGV[2] then return h[4] == ARGV[2] and 1 or 0 end',
    to: '',
    why: 'a release that is sent again counts twice',
  },
  {
    name: 'renew: only the holder',
    file: 'renew.lua',
    from: "h[1] ~= token or (holder and holder ~= token) or (not holder and not redis.call('LPOS', active, job))",
    to: 'false',
    why: 'who lost its lease takes the lock from the one after it',
  },
  {
    name: 'renew: only while it is active',
    file: 'renew.lua',
    from: " or (not holder and not redis.call('LPOS', active, job))",
    to: '',
    why: 'a job that waits in its lane again is run at the same time',
  },
  {
    name: 'reclaim: only what no later attempt has',
    file: 'reclaim.lua',
    from: "if attempt > tonumber(ARGV[3]) or (attempt == tonumber(ARGV[3]) and h[4] ~= ARGV[2]) then return 'lost' end",
    to: '',
    why: 'an old attempt takes the job back from the one after it',
  },
  {
    name: 'submit: an owner goes on behind what it has paid for',
    file: 'submit.lua',
    from: "tonumber(paid or '0')",
    to: '0',
    why: 'all jobs of a greedy owner have the same rank, and go before those of whoever comes later',
  },
  {
    name: 'submit: who has paid nothing begins at what is served',
    file: 'submit.lua',
    from: 'local start = math.max(served, ',
    to: 'local start = math.max(0, ',
    why: 'whoever is new, or was away, goes before all others until it has had as much as they ever had',
  },
  {
    name: 'submit: an empty lane begins anew',
    file: 'submit.lua',
    from: "redis.call('DEL', KEYS[16], KEYS[17])",
    to: '',
    why: 'owners are remembered for ever',
  },
  {
    name: 'submit: who has paid less than is served is forgotten when somebody new comes',
    file: 'submit.lua',
    from: "redis.call('ZREMRANGEBYSCORE', KEYS[16], '-inf', '(' .. served)",
    to: '',
    why: 'a lane that is never empty remembers all owners that it ever had',
  },
  {
    name: 'take: a body that lies beside comes along',
    file: 'take.lua',
    from: 'tonumber(h[13]) > #data and',
    to: 'false and',
    why: 'a large request is run without its body',
  },
  {
    name: 'submit: ranks are made smaller before they no longer fit',
    file: 'submit.lua',
    from: 'if served >= RENUMBER_FROM then',
    to: 'if false then',
    why: 'a lane that is never empty serves in the order of submits in the end, or BullMQ refuses its jobs',
  },
  {
    name: 'submit: a rank made smaller is so for BullMQ, too',
    file: 'submit.lua',
    from: "redis.call('HSET', ARGV[10] .. job, 'priority', smaller(tonumber(rank)))",
    to: '',
    why: 'a job that is given back after its lane was numbered anew stands behind all others',
  },
  {
    name: 'take: what is served is noted',
    file: 'take.lua',
    from: "redis.call('ZADD', KEYS[13], rank, '*')",
    to: '',
    why: 'whoever is new goes before all others until it has had as much as they ever had',
  },
  {
    name: 'take: what is served goes only up',
    file: 'take.lua',
    from: "if rank and rank > tonumber(redis.call('ZSCORE', KEYS[13], '*') or '0') then",
    to: 'if rank then',
    why: 'after a job that was given back, whoever is new goes before jobs that have waited long',
  },
  {
    name: 'take: who is taken waits no longer',
    file: 'take.lua',
    from: "redis.call('ZREM', KEYS[14], job)",
    to: '',
    why: 'a lane seems to have a job that waits for ever, and goes before all others',
  },
  {
    name: 'release: who is given back waits again',
    file: 'release.lua',
    from: "redis.call('ZADD', KEYS[2], h[5], ARGV[5])",
    to: '',
    why: 'a lane seems to have nothing that waits, and all others go before it',
  },
  {
    name: 'reclaim: who is taken up waits no longer',
    file: 'reclaim.lua',
    from: "redis.call('ZREM', KEYS[8], ARGV[1])",
    to: '',
    why: 'a lane seems to have a job that waits for ever, and goes before all others',
  },
  {
    name: "inspect: only its owner's",
    file: 'inspect.lua',
    from: " or (ARGV[2] ~= '' and h[1] ~= ARGV[2])",
    to: '',
    why: 'whoever knows the id of a job learns all of it',
  },
  {
    name: 'inspect: what was recovered goes before what waits by rank',
    file: 'inspect.lua',
    from: 'return rank + waiting',
    to: 'return rank',
    why: 'a job is told to be the next while others that were recovered go before it',
    seldom: true,
  },
  {
    name: 'reclaim: only what nobody else has leased',
    file: 'reclaim.lua',
    from: "if holder and holder ~= ARGV[2] then return 'lost' end",
    to: '',
    why: 'two workers have the lease after a kill of Redis',
    seldom: true,
  },
]
