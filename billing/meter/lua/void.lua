-- Takes back an admission that its caller gave up on without an answer, if it was carried out after all.
--
-- KEYS  1 leases hash  2 tenant budget  3 key budget  4 end user budget  5 run budget  6 day hash  7 busy set
--       8 rpm zset  9 end user's rpm zset  10 key's rpm zset
-- ARGV  1 request id  2 tenant id  3 kept budgets, e.g. '1001'  4 kept windows, e.g. '100'
-- Reply 1 if there was one
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if not lease then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HLEN', KEYS[1]) == 0 then redis.call('SREM', KEYS[7], ARGV[2]) end
local hold, tokens = string.match(lease, '^(%d+)|(%d+)|')
for number = 1, 4 do
  if string.sub(ARGV[3], number, number) == '1' and redis.call('HEXISTS', KEYS[number + 1], 'spent') == 1 then
    redis.call('HINCRBY', KEYS[number + 1], 'held', -tonumber(hold))
  end
end
if redis.call('HEXISTS', KEYS[6], 'tokens') == 1 then redis.call('HINCRBY', KEYS[6], 'held', -tonumber(tokens)) end
for number = 1, 3 do
  if string.sub(ARGV[4], number, number) == '1' then redis.call('ZREM', KEYS[number + 7], ARGV[1]) end
end
return 1
