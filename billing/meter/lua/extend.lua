-- Holds more for an open lease: as many of the tokens asked for as every budget has room for.
--
-- KEYS  1 leases  2 tenant_budget  3 key_budget  4 user_budget  5 run_budget
-- ARGV  1 request_id  2 tokens asked for  3 price (nano-USD per token)  4 kept (budgets, e.g. '1101')
--       5 tenant_limit  6 key_limit  7 user_limit  8 run_limit      (nano-USD; -1: no limit)
--       9 of_output ('1': tokens of output are asked for; '0': money, one nano-USD each)
-- Reply OK tokens | REFUSED budget_number spent held | GONE (no such lease) | COLD budget_number (a limited one is missing)
-- Invariants: spent + held <= budget for every budget kept; the lease says what it holds, for whoever settles it.
local leases, tenant_budget, key_budget, user_budget, run_budget = unpack(KEYS)
local request_id, tokens, price, kept, tenant_limit, key_limit, user_limit, run_limit, of_output = unpack(ARGV)
local lease = redis.call('HGET', leases, request_id)
if not lease then return {'GONE'} end
local hold, day_tokens, index, paid_tokens, rest = string.match(lease, '^(%d+)|(%d+)|(%d+)|(%d+)(|.*)$')
local granted, tightest, warm = tonumber(tokens), nil, {}
price = tonumber(price)
local budgets = {{tenant_budget, tenant_limit}, {key_budget, key_limit}, {user_budget, user_limit}, {run_budget, run_limit}}
for number, budget in ipairs(budgets) do
  local key, limit = budget[1], tonumber(budget[2])
  if string.sub(kept, number, number) == '1' then
    local counter = redis.call('HMGET', key, 'spent', 'held')
    if counter[1] then
      warm[#warm + 1] = key
    elseif limit >= 0 then
      return {'COLD', number}
    end
    local room = limit >= 0 and math.floor((limit - counter[1] - counter[2]) / price) or granted
    if room < granted then
      granted = room
      tightest = {'REFUSED', number, tonumber(counter[1]), tonumber(counter[2])}
    end
  end
end
if granted < 1 then return tightest end
for _, key in ipairs(warm) do redis.call('HINCRBY', key, 'held', granted * price) end
local head = {string.format('%.0f', hold + granted * price), day_tokens, index, paid_tokens + granted * of_output}
redis.call('HSET', leases, request_id, table.concat(head, '|') .. rest)
return {'OK', granted}
