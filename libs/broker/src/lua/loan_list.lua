-- What a lender has lent.
-- KEYS[1] its ledger  ARGV[1] over  [2] judge
-- Returns ids and loans (JSON) of the living ones, in turns; then '' and the ids of those that are over
local living, ended = {}, { '' }
for id, loan in pairs(loans_in(KEYS[1], ARGV[2], ARGV[1], now_ms())) do
  if lives(loan) then
    living[#living + 1] = id
    living[#living + 1] = cjson.encode(loan)
  else ended[#ended + 1] = id end
end
for _, each in ipairs(ended) do living[#living + 1] = each end
return living
