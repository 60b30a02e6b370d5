-- Puts back a lease that Redis has lost, unless the call was settled meanwhile.
--
-- KEYS  1 leases  2 tenant_budget  3 key_budget  4 user_budget  5 run_budget  6 day  7 busy
--       8 tombstone (of the request id)
-- ARGV  1 request_id  2 tenant_id  3 hold (nano-USD)  4 held_tokens (of the day)  5 kept (budgets, e.g. '1101')  6 lease
-- Reply 1 if it was put back, else 0
-- Invariants: a cold counter is never created here; whoever seeds it counts the leases that are there.
local leases, tenant_budget, key_budget, user_budget, run_budget, day, busy, tombstone = unpack(KEYS)
local request_id, tenant_id, hold, held_tokens, kept, lease = unpack(ARGV)
if redis.call('EXISTS', tombstone) == 1 or redis.call('HSETNX', leases, request_id, lease) == 0 then return 0 end
for number, budget in ipairs({tenant_budget, key_budget, user_budget, run_budget}) do
  if string.sub(kept, number, number) == '1' and redis.call('HEXISTS', budget, 'spent') == 1 then
    redis.call('HINCRBY', budget, 'held', hold)
  end
end
if redis.call('HEXISTS', day, 'tokens') == 1 then redis.call('HINCRBY', day, 'held', held_tokens) end
redis.call('SADD', busy, tenant_id)
return 1
