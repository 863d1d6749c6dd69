-- Borrows memory of a device. A node's loan from itself is granted where it lends nothing, too: it decides by itself.
-- KEYS[1] lender's ledger  [2] lender's node record
-- ARGV[1] base  [2] lender  [3] loan id (unguessable)  [4] facts  [5] ms it lives  [6] over  [7] judge
-- Returns {'granted'} | {'silent'}: no such node lives | {'none'}: it lends nothing of that device | {'short', bytes that are free}
--      | {'over'}: this loan has been
local now, asked = now_ms(), cjson.decode(ARGV[4])
local loans = loans_in(KEYS[1], ARGV[7], ARGV[6], now)
local there = loans[ARGV[3]]
if there then return { there.token == asked.token and lives(there) and 'granted' or 'over' } end
local total, why = offered(KEYS[2], asked.device)
if not total and not asked.own then return { why } end
local free = total and total - lent(loans, asked.device)
if free and asked.bytes > free then return { 'short', string.format('%.0f', math.max(0, free)) } end
asked.state, asked.ends = 'asked', now + ARGV[5]
save(KEYS[1], ARGV[3], asked)
tell_lender(ARGV[1], ARGV[2])
return { 'granted' }
