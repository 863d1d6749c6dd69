-- Renews loans of one borrower. One that Redis has forgotten is asked for again, if its memory is still free; whether its lender then still
-- has it, that one says. A loan whose lender is silent is over.
-- KEYS[2i-1] lender's ledger  [2i] lender's node record
-- ARGV[1] base  [2] ms a loan lives  [3] over  [4] judge; then three for each: lender, loan id, facts
-- Returns three for each: 'asked' | 'ready' | 'failed' | 'gone', then its port or why it has failed or '', then 1: somebody wants it
local now, answers = now_ms(), {}
for i = 1, #KEYS / 2 do
  local ledger, lender, id, facts = KEYS[2 * i - 1], ARGV[3 * i + 2], ARGV[3 * i + 3], cjson.decode(ARGV[3 * i + 4])
  local total, why = offered(KEYS[2 * i], facts.device)
  local silent = why == 'silent' and ARGV[4] == '1'
  local raw = redis.call('HGET', ledger, id)
  local loan = raw and cjson.decode(raw) or facts
  if raw and loan.token ~= facts.token then loan = { state = 'gone' }
  elseif raw and not lives(loan) then
  elseif silent then close_loan(ledger, id, loan, 'gone', nil, ARGV[3], now)
  else
    local free = total and not raw and total - lent(loans_in(ledger, ARGV[4], ARGV[3], now), loan.device)
    if not raw and (free and loan.bytes > free or why == 'none' and not loan.own) then close_loan(ledger, id, loan, 'gone', nil, ARGV[3], now)
    else
      loan.state, loan.ends = loan.state or 'asked', now + ARGV[2]
      save(ledger, id, loan)
      if not raw then tell_lender(ARGV[1], lender) end
    end
  end
  answers[#answers + 1] = loan.state
  answers[#answers + 1] = tostring(loan.port or loan.reason or '')
  answers[#answers + 1] = (loan.wanted or 0) > now and 1 or 0
end
return answers
