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
    name: 'reclaim: only what nobody else has leased',
    file: 'reclaim.lua',
    from: "if holder and holder ~= ARGV[2] then return 'lost' end",
    to: '',
    why: 'two workers have the lease after a kill of Redis',
    seldom: true,
  },
]
