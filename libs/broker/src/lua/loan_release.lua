-- Gives loans of one borrower back.
-- KEYS[i] lender's ledger
-- ARGV[1] base  [2] over; then three for each: lender, loan id, facts
-- Returns how many of them lived
local now, lived = now_ms(), 0
for i = 1, #KEYS do
  local lender, id, facts = ARGV[3 * i], ARGV[3 * i + 1], cjson.decode(ARGV[3 * i + 2])
  local raw = redis.call('HGET', KEYS[i], id)
  local loan = raw and cjson.decode(raw) or facts
  -- One that Redis has forgotten may still be known to its lender.
  if loan.token == facts.token and (not raw or lives(loan)) then
    if raw then lived = lived + 1 end
    close_loan(KEYS[i], id, loan, 'gone', nil, ARGV[2], now)
    tell_lender(ARGV[1], lender)
  end
end
return lived
