-- A node's or gateway's sign of life.
-- KEYS[1] record  [2] index (sorted set), or the record again where there is none
-- ARGV[1] id  [2] instance (unguessable, one a process)  [3] ms it lives  [4] record, or '' when it has not changed
--      [5] supervisor (unguessable), or '': who starts a process with this id anew only when the last one has ended
--      [6] set of the nodes that are to be drained, or ''; a worker may only read it, so it is none of KEYS
-- Returns 1 | 2: lives, and is to be drained | 0: unchanged but not there, send it whole | -1: another living process has this id
local held = redis.call('HGET', KEYS[1], 'instance')
if held and held ~= ARGV[2] and (ARGV[5] == '' or redis.call('HGET', KEYS[1], 'supervisor') ~= ARGV[5]) then return -1 end
if ARGV[4] == '' and not held then return 0 end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'instance', ARGV[2], 'record', ARGV[4], 'supervisor', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if KEYS[2] ~= KEYS[1] then redis.call('ZADD', KEYS[2], now_ms(), ARGV[1]) end
if ARGV[6] ~= '' and redis.call('SISMEMBER', ARGV[6], ARGV[1]) == 1 then return 2 end
return 1
