-- Content is removed after a while, unless something is made of it by then.
-- KEYS[1] trash  ARGV[1] content name  [2] ms from now
redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[2]), ARGV[1])
return 1
