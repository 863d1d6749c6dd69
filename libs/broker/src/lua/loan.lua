-- Common to the scripts about loans of memory. Included behind job.lua.
--
-- A lender's ledger is a hash: id of a loan to the loan as JSON.
--   token, device, bytes, model, cluster, own, by    as it was asked for; by: the node that asked
--   state   asked | ready: it lives, and its memory counts
--           failed | gone: it is over. It is kept for a while, so that nobody who comes late brings it back
--   ends    ms by Redis' clock: when a living one ends unless it is renewed, or when one that is over is forgotten
--   port    of one that is ready        reason  why one has failed
--   wanted  ms until which somebody else would like its memory
--
-- Throughout: facts = a loan as JSON as it was asked for; over = ms that one that is over is kept; judge = 1: who was not heard in time may
-- be judged, 0: Redis was away a moment ago.

local LEDGER_MS = 3600000

local function lives(loan) return loan.state == 'asked' or loan.state == 'ready' end

local function save(ledger, id, loan)
  redis.call('HSET', ledger, id, cjson.encode(loan))
  redis.call('PEXPIRE', ledger, LEDGER_MS)
end

-- What is over is gone, or failed with this reason.
local function close_loan(ledger, id, loan, state, reason, over, now)
  loan.state, loan.reason, loan.ends = state, reason, now + over
  loan.port, loan.wanted = nil, nil
  save(ledger, id, loan)
end

-- All of a ledger, by id. Those that were not renewed in time are over if that may be judged.
local function loans_in(ledger, judge, over, now)
  local loans, pairs_ = {}, redis.call('HGETALL', ledger)
  for i = 1, #pairs_, 2 do
    local id, loan = pairs_[i], cjson.decode(pairs_[i + 1])
    if loan.ends > now then loans[id] = loan
    elseif not lives(loan) then redis.call('HDEL', ledger, id)
    else
      if judge == '1' then close_loan(ledger, id, loan, 'gone', nil, over, now) end
      loans[id] = loan
    end
  end
  return loans
end

-- Bytes of a device that are lent.
local function lent(loans, device)
  local sum = 0
  for _, loan in pairs(loans) do
    if loan.device == device and lives(loan) then sum = sum + loan.bytes end
  end
  return sum
end

-- What a lender lends of a device when nothing is lent; nothing, and why, where it does not lend.
local function offered(node, device)
  local record = redis.call('HGET', node, 'record')
  if not record then return nil, 'silent' end
  local lending = cjson.decode(record).lending
  for _, each in ipairs(lending and lending.devices or {}) do
    if each.name == device then return each.total end
  end
  return nil, 'none'
end

local function tell_lender(base, lender) redis.call('PUBLISH', base .. ':control:' .. lender, '{"loans":"lender"}') end
local function tell_borrower(base, node) redis.call('PUBLISH', base .. ':control:' .. node, '{"loans":"borrower"}') end
