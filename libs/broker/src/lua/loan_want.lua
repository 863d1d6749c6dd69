-- Somebody is short of memory: those who have borrowed of these nodes are told, but for those who ask.
-- KEYS[i] lender's ledger
-- ARGV[1] base  [2] the node or the cluster that asks  [3] ms for which it is wanted
-- Returns how many loans are wanted
local now, count = now_ms(), 0
for i = 1, #KEYS do
  local all = redis.call('HGETALL', KEYS[i])
  for j = 1, #all, 2 do
    local loan = cjson.decode(all[j + 1])
    if lives(loan) and loan.by ~= ARGV[2] and loan.cluster ~= ARGV[2] then
      count = count + 1
      if (loan.wanted or 0) <= now then tell_borrower(ARGV[1], loan.by) end
      loan.wanted = now + ARGV[3]
      save(KEYS[i], all[j], loan)
    end
  end
end
return count
