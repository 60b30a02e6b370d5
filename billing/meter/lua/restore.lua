-- Puts back a lease that Redis has lost, unless the call was settled meanwhile.
--
-- KEYS  1 leases hash  2 tenant budget  3 key budget  4 end user budget  5 run budget  6 day hash  7 busy set
--       8 tombstone of the request id
-- ARGV  1 request id  2 tenant id  3 hold  4 tokens held for the day  5 kept budgets, e.g. '1001'  6 lease
-- Reply 1 if it was put back
-- Invariants: a cold counter is never created here; whoever seeds it counts the leases that are there.
if redis.call('EXISTS', KEYS[8]) == 1 or redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[6]) == 0 then return 0 end
for number = 1, 4 do
  if string.sub(ARGV[5], number, number) == '1' and redis.call('HEXISTS', KEYS[number + 1], 'spent') == 1 then
    redis.call('HINCRBY', KEYS[number + 1], 'held', ARGV[3])
  end
end
if redis.call('HEXISTS', KEYS[6], 'tokens') == 1 then redis.call('HINCRBY', KEYS[6], 'held', ARGV[4]) end
redis.call('SADD', KEYS[7], ARGV[2])
return 1
