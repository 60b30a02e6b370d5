-- Undoes an admission whose caller got no reply, if it was executed after all.
--
-- KEYS  1 leases  2 tenant_budget  3 key_budget  4 user_budget  5 run_budget  6 day  7 busy
--       8 tenant_window  9 user_window  10 key_window
-- ARGV  1 request_id  2 tenant_id  3 kept (budgets, e.g. '1101')  4 kept_windows (e.g. '100')
-- Reply 1 if there was one, else 0
local leases, tenant_budget, key_budget, user_budget, run_budget, day, busy, tenant_window, user_window,
  key_window = unpack(KEYS)
local request_id, tenant_id, kept, kept_windows = unpack(ARGV)
local lease = redis.call('HGET', leases, request_id)
if not lease then return 0 end
redis.call('HDEL', leases, request_id)
if redis.call('HLEN', leases) == 0 then redis.call('SREM', busy, tenant_id) end
local hold, tokens = string.match(lease, '^(%d+)|(%d+)|')
for number, budget in ipairs({tenant_budget, key_budget, user_budget, run_budget}) do
  if string.sub(kept, number, number) == '1' and redis.call('HEXISTS', budget, 'spent') == 1 then
    redis.call('HINCRBY', budget, 'held', -tonumber(hold))
  end
end
if redis.call('HEXISTS', day, 'tokens') == 1 then redis.call('HINCRBY', day, 'held', -tonumber(tokens)) end
for number, window in ipairs({tenant_window, user_window, key_window}) do
  if string.sub(kept_windows, number, number) == '1' then redis.call('ZREM', window, request_id) end
end
return 1
