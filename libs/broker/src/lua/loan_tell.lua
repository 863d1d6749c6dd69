-- A lender says of a loan that it is ready, or has failed. Its borrower is told that there is news.
-- KEYS[1] its ledger
-- ARGV[1] base  [2] loan id  [3] token  [4] ready | failed  [5] port, or why it has failed  [6] over
-- Returns 1 | 0: it is over, or not this loan
local raw = redis.call('HGET', KEYS[1], ARGV[2])
if not raw then return 0 end
local loan = cjson.decode(raw)
if loan.token ~= ARGV[3] then return 0 end
if not lives(loan) then return loan.state == ARGV[4] and 1 or 0 end
if ARGV[4] == 'failed' then close_loan(KEYS[1], ARGV[2], loan, 'failed', ARGV[5], ARGV[6], now_ms())
else
  loan.state, loan.port = 'ready', tonumber(ARGV[5])
  save(KEYS[1], ARGV[2], loan)
end
tell_borrower(ARGV[1], loan.by)
return 1
