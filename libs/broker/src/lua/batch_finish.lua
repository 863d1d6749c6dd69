-- Ends a batch: its results become files, and webhooks are told.
-- KEYS[1] batch hash  [2] done  [3] parts  [4] open batches
-- ARGV[1] base  [2] id  [3] lease token  [4] state  [5] errors (JSON) or ''  [6] ms that it is kept  [7] ms that its files are kept, or ''
--      [8] input file  [9] content name of its index or ''; then of the file with results, and of that with errors: [10] [14] its id,
--      [11] [15] its name, [12] [16] its bytes (0: there is none), [13] [17] its parts (JSON); [18] how requests are counted that have no result
--      and never will, or ''  [19] how many these are
-- Returns 'ok' (also when sent before) | 'lost': the lease is another's | 'open': there are other requests without a result
local h = redis.call('HMGET', KEYS[1], 'tok', 'st', 'own', 'store', 'total', 'completed', 'failed', 'cancelled', 'expired')
if h[1] ~= ARGV[3] then return 'lost' end
if is_over(h[2]) then return h[2] == ARGV[4] and 'ok' or 'lost' end
local rest = tonumber(h[5]) - tonumber(h[6]) - tonumber(h[7]) - tonumber(h[8]) - tonumber(h[9])
if rest ~= tonumber(ARGV[19]) then return 'open' end
if rest > 0 then redis.call('HINCRBY', KEYS[1], ARGV[18], rest) end
redis.call('HSET', KEYS[1], 'st', ARGV[4], 't:' .. ARGV[4], now_ms())
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'errors', ARGV[5]) end
for i, field in ipairs({ 'out', 'err' }) do
  local a = 6 + 4 * i
  if ARGV[a + 2] ~= '0' then
    add_file(ARGV[1], ARGV[a], h[3], 'batch_output', ARGV[a + 1], ARGV[a + 2], h[4], ARGV[a + 3], ARGV[7])
    redis.call('HSET', KEYS[1], field, ARGV[a])
  end
end
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], TOMB_MS)
redis.call('PEXPIRE', KEYS[3], TOMB_MS)
leave_file(ARGV[1], ARGV[8])
-- Whoever still reads it does not know yet that the batch has ended.
if ARGV[9] ~= '' then redis.call('ZADD', ARGV[1] .. ':trash:' .. h[4], now_ms() + TOMB_MS, ARGV[9]) end
announce(ARGV[1], 'batch.' .. ARGV[4], h[3], '*', ARGV[2], '{"id":"' .. ARGV[2] .. '"}')
return 'ok'
