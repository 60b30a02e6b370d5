-- Settles one lease, once by request id: replaces its hold by the cost and appends its usage event to the stream.
--
-- KEYS  1 leases  2 tenant_budget  3 key_budget  4 user_budget  5 run_budget  6 day  7 busy  8 usage (stream)
--       9 tombstone (of the request id: the state it ended in)
-- ARGV  1 request_id  2 tenant_id  3 hold  4 cost  (nano-USD)  5 held_tokens  6 used_tokens  7 event
--       8 kept (budgets, e.g. '1101' for tenant, key and run)   9 alert_lines ('percent:nano,...' of the tenant's budget)
--       10 tombstone_seconds  11 state ('settled' or 'reaped', see `billing.meter.lease.LeaseState`)
--       12 repeats ('1': a settle Redis may have lost, and its lease with it)
-- Reply OK spent held entry | DONE (already settled) | LATE (settled after the reaper did: event marked, counters kept)
-- Invariants: an event is appended whether or not the counters are there; a cold counter is never created here,
--   but whoever is rebuilding it learns that a settle passed it by.
local leases, tenant_budget, key_budget, user_budget, run_budget, day, busy, usage, tombstone = unpack(KEYS)
local request_id, tenant_id, hold, cost, held_tokens, used_tokens, event, kept, alert_lines, tombstone_seconds, state,
  repeats = unpack(ARGV)
hold, cost = tonumber(hold), tonumber(cost)
local lease = redis.call('HGET', leases, request_id)
local existed = redis.call('HDEL', leases, request_id) == 1
-- Use what the lease holds: its caller may have missed the reply that granted an extension.
if lease then hold = tonumber(string.match(lease, '^%d+')) end
if not existed then
  local ended = redis.call('GET', tombstone)
  if ended == 'reaped' and state == 'settled' then
    redis.call('XADD', usage, '*', 'e', event, 'late', '1')
    redis.call('SET', tombstone, state, 'EX', tombstone_seconds)
    return {'LATE'}
  end
  if ended or (state == 'reaped' and repeats ~= '1') then return {'DONE'} end
end
if redis.call('HLEN', leases) == 0 then redis.call('SREM', busy, tenant_id) end

local spent, held = 0, 0
for number, budget in ipairs({tenant_budget, key_budget, user_budget, run_budget}) do
  if string.sub(kept, number, number) == '1' then
    if redis.call('HEXISTS', budget, 'spent') == 1 then
      local after = redis.call('HINCRBY', budget, 'spent', cost)
      local left = existed and redis.call('HINCRBY', budget, 'held', -hold) or 0
      if number == 1 then spent, held = after, left end
    elseif redis.call('HEXISTS', budget, 'missed') == 1 then
      redis.call('HINCRBY', budget, 'missed', 1)
    end
  end
end
if redis.call('HEXISTS', day, 'tokens') == 1 then
  redis.call('HINCRBY', day, 'tokens', used_tokens)
  if existed then redis.call('HINCRBY', day, 'held', -tonumber(held_tokens)) end
elseif redis.call('HEXISTS', day, 'missed') == 1 then
  redis.call('HINCRBY', day, 'missed', 1)
end
local crossed = {}
for percent, line in string.gmatch(alert_lines, '(%d+):(%d+)') do
  line = tonumber(line)
  if spent >= line and spent - cost < line then crossed[#crossed + 1] = percent end
end
local entry = redis.call('XADD', usage, '*', 'e', event, 'crossed', table.concat(crossed, ','), 'spent', spent)
redis.call('SET', tombstone, state, 'EX', tombstone_seconds)
return {'OK', spent, held, entry}
