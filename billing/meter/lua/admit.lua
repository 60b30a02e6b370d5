-- Admits one call: opens a lease for the first candidate that fits every limit, or says which limit refused.
--
-- KEYS  1 shard           hash: epoch, opens_ms, policy (token of all policies)
--       2 tenant          hash: policy (its own token); stands for each key below that does not exist
--       3 leases          hash: request id -> lease
--       4 tenant_window   5 user_window   6 key_window            (zset: score µs, member request id)
--       7 tenant_budget   8 key_budget   9 user_budget   10 run_budget      (hash: spent, held in nano-USD; the
--         tenant's also saving, while cheaper candidates are preferred)
--       11 day            hash: tokens, held
--       12 busy           set: tenants with open leases
--       13 conversation   string: the candidate that serves it
--       14 shadow_window  zset: of a limit in shadow
-- ARGV  of every call under one policy, in one period and day:
--       1 tenant_id   2 everyones_token   3 tenants_token
--       4 period_start  5 period_end  6 day_start  7 day_end       (epoch seconds the caller believes in)
--       8 tenant_rate  9 user_rate  10 key_rate                    (requests/min; -1: no limit)
--       11 concurrency  12 daily_tokens                            (-1: no limit)
--       13 tenant_limit  14 key_limit  15 user_limit  (nano-USD; -1: no limit)
--       16 saving_from    spend from which cheaper candidates are preferred (-1: never)
--       17 saving_until   spend below which no longer
--       18 shadow_rate    requests/min in shadow (-1: none)
--       of this call:
--       19 request_id  20 run_limit                                (nano-USD; -1: no limit)
--       21 keep_seconds   a conversation keeps its candidate for (0: it keeps none)
--       22 dry_run        '1': nothing is written
--       23 held_tokens    to hold for the day
--       24 lease_head     after hold, tokens, index, held output tokens, time
--       25 lease_rest     opaque
--       of each candidate, six at a time:
--       26 skipped        '1': passed over while saving
--       27 input_hold  28 output_price                             (nano-USD; the latter per token)
--       29 max_tokens  30 min_tokens
--       31 first_tokens   of output to hold for at first
-- Reply OK candidate max_tokens held_tokens hold clamped spent held rpm_limit rpm_used day_tokens now_us open over_shadow saving
--         (rpm: of the window with the least room, limit -1 where none is kept; day_tokens: used and held)
--       STALE | WARMING ms | ROLLOVER now_s | COLD key_number...
--       REFUSED what a b c   (rate, user_rate, key_rate: retry_ms; concurrency; tokens; budget: key_number spent held;
--                             declined, if only a cheaper candidate would do: key_number spent held)
-- Invariants: nothing is written before the last refusal; spent + held + hold <= budget for every budget kept.
local shard, tenant, leases, tenant_window, user_window, key_window, tenant_budget, key_budget, user_budget, run_budget,
  day, busy, conversation, shadow_window = unpack(KEYS)
local tenant_id, everyones_token, tenants_token, period_start, period_end, day_start, day_end, tenant_rate, user_rate,
  key_rate, concurrency, daily_tokens, tenant_limit, key_limit, user_limit, saving_from, saving_until, shadow_rate,
  request_id, run_limit, keep_seconds, dry_run, held_tokens, lease_head, lease_rest = unpack(ARGV, 1, 25)
local BEFORE_CANDIDATES, OF_A_CANDIDATE = 25, 6
local SHARD, TENANT_BUDGET, KEY_BUDGET, USER_BUDGET, RUN_BUDGET, DAY = 1, 7, 8, 9, 10, 11
-- There may be hundreds of thousands of end users and runs: a counter unused for a day expires, and is rebuilt if needed.
local IDLE_SECONDS = 86400

local function candidate_at(number)
  local last = BEFORE_CANDIDATES + number * OF_A_CANDIDATE
  local skipped, input_hold, output_price, max_tokens, min_tokens, first_tokens =
    unpack(ARGV, last - OF_A_CANDIDATE + 1, last)
  return skipped == '1', tonumber(input_hold), tonumber(output_price), tonumber(max_tokens), tonumber(min_tokens),
    tonumber(first_tokens)
end

local epoch, opens_ms, current_token = unpack(redis.call('HMGET', shard, 'epoch', 'opens_ms', 'policy'))
local time = redis.call('TIME')
local now_s, now_us = tonumber(time[1]), time[1] * 1000000 + time[2]
if not epoch then return {'COLD', SHARD} end
opens_ms = tonumber(opens_ms or 0)
if now_us < opens_ms * 1000 then return {'WARMING', opens_ms - math.floor(now_us / 1000)} end
if current_token ~= everyones_token or redis.call('HGET', tenant, 'policy') ~= tenants_token then return {'STALE'} end
if now_s < tonumber(period_start) or now_s >= tonumber(period_end)
  or now_s < tonumber(day_start) or now_s >= tonumber(day_end) then
  return {'ROLLOVER', now_s}
end

-- Every limited counter must exist before anything is decided: a missing one is not zero. One without a limit is kept
-- up to date while it exists, so that a limit set later finds it right.
local budgets, cold = {}, {'COLD'}
local function look_up(number, key, limit)
  if key == tenant then return end
  limit = tonumber(limit)
  local counter = redis.call('HMGET', key, 'spent', 'held', 'saving')
  if counter[1] then
    budgets[#budgets + 1] = {number = number, key = key, limit = limit,
      spent = tonumber(counter[1]), held = tonumber(counter[2]), saving = counter[3]}
  elseif limit >= 0 or number == TENANT_BUDGET then
    cold[#cold + 1] = number
  end
end
look_up(TENANT_BUDGET, tenant_budget, tenant_limit)
look_up(KEY_BUDGET, key_budget, key_limit)
look_up(USER_BUDGET, user_budget, user_limit)
look_up(RUN_BUDGET, run_budget, run_limit)
local tokens = redis.call('HMGET', day, 'tokens', 'held')
if not tokens[1] then cold[#cold + 1] = DAY end
if #cold > 1 then return cold end
local tokens_used, tokens_held = tonumber(tokens[1]), tonumber(tokens[2])

local since = now_us - 60000000
local after = '(' .. string.format('%.0f', since)
local windows = {{tenant_window, tonumber(tenant_rate), 'rate'}, {key_window, tonumber(key_rate), 'key_rate'}}
if user_window ~= tenant then table.insert(windows, 2, {user_window, tonumber(user_rate), 'user_rate'}) end
local rpm_limit, rpm_used = -1, 0
for _, window in ipairs(windows) do
  local key, limit, refusal = unpack(window)
  if limit >= 0 then
    local used = redis.call('ZCOUNT', key, after, '+inf')
    if used >= limit then
      if limit == 0 then return {'REFUSED', refusal, 60000} end
      local frees = redis.call('ZREVRANGE', key, limit - 1, limit - 1, 'WITHSCORES')
      return {'REFUSED', refusal, math.ceil((frees[2] - since) / 1000)}
    end
    if rpm_limit < 0 or limit - used < rpm_limit - rpm_used then rpm_limit, rpm_used = limit, used end
  end
end
concurrency = tonumber(concurrency)
local open = redis.call('HLEN', leases)
if concurrency >= 0 and open >= concurrency then return {'REFUSED', 'concurrency', concurrency} end
local over_shadow = 0
shadow_rate = tonumber(shadow_rate)
if shadow_rate >= 0 then
  if redis.call('ZCOUNT', shadow_window, after, '+inf') < shadow_rate then
    windows[#windows + 1] = {shadow_window, shadow_rate}
  else
    over_shadow = 1
  end
end
daily_tokens = tonumber(daily_tokens)
if daily_tokens >= 0 and tokens_used + tokens_held >= daily_tokens then
  return {'REFUSED', 'tokens', tokens_used, tokens_held}
end

-- The ladder: candidates unclamped and in order, then clamped from the cheapest (the last) upwards. A call that costs
-- nothing passes an overdrawn budget.
local room, tightest = nil, nil
for _, budget in ipairs(budgets) do
  if budget.limit >= 0 then
    local left = budget.limit - budget.spent - budget.held
    if not room or left < room then room, tightest = left, budget end
  end
end
-- Near the threshold, a conversation stays with the model that has its prompt cached.
local spent, was_saving = budgets[1].spent, budgets[1].saving
saving_from, saving_until, keep_seconds = tonumber(saving_from), tonumber(saving_until), tonumber(keep_seconds)
local near = saving_from >= 0 and spent >= saving_until
local saving = near and (was_saving or spent >= saving_from)
local kept = near and keep_seconds > 0 and tonumber(redis.call('GET', conversation)) or nil
local count = (#ARGV - BEFORE_CANDIDATES) / OF_A_CANDIDATE
local passes_over = saving and not kept
local index, max_tokens, paid_tokens, hold, clamped
for number = kept or 1, count do
  local skipped, input_hold, output_price, wanted, _, first_tokens = candidate_at(number)
  local needed = input_hold + output_price * first_tokens
  if not (skipped and passes_over) and (not room or needed <= math.max(room, 0)) then
    index, max_tokens, paid_tokens, hold, clamped = number, wanted, first_tokens, needed, 0
    break
  end
end
if not index and passes_over and candidate_at(count) then
  return {'REFUSED', 'declined', TENANT_BUDGET, spent, budgets[1].held}
end
if not index then
  for number = count, 1, -1 do
    local skipped, input_hold, output_price, _, min_tokens = candidate_at(number)
    local affordable = output_price > 0 and math.floor((room - input_hold) / output_price) or 0
    if not (skipped and passes_over) and affordable >= min_tokens and affordable >= 1 then
      index, max_tokens, paid_tokens, clamped = number, affordable, affordable, 1
      hold = input_hold + output_price * affordable
      break
    end
  end
end
if not index then return {'REFUSED', 'budget', tightest.number, tightest.spent, tightest.held} end
local reply = {'OK', index, max_tokens, paid_tokens, hold, clamped, spent, budgets[1].held + hold, rpm_limit, rpm_used + 1,
  tokens_used + tokens_held + held_tokens, now_us, open, over_shadow, saving and 1 or 0}
if dry_run == '1' then return reply end

local now = string.format('%.0f', now_us)
for _, window in ipairs(windows) do
  local key, limit = unpack(window)
  if limit >= 0 then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', since))
    redis.call('ZADD', key, now, request_id)
    redis.call('PEXPIRE', key, 61000)
  end
end
for _, budget in ipairs(budgets) do
  redis.call('HINCRBY', budget.key, 'held', hold)
  if budget.number >= USER_BUDGET then redis.call('EXPIRE', budget.key, IDLE_SECONDS) end
end
if saving and not was_saving then redis.call('HSET', tenant_budget, 'saving', 1) end
if was_saving and not saving then redis.call('HDEL', tenant_budget, 'saving') end
if near and keep_seconds > 0 and index ~= kept then redis.call('SET', conversation, index, 'EX', keep_seconds) end
redis.call('HINCRBY', day, 'held', held_tokens)
local head = table.concat({string.format('%.0f', hold), held_tokens, index, paid_tokens, now, lease_head}, '|')
redis.call('HSET', leases, request_id, head .. '\n' .. lease_rest)
if open == 0 then redis.call('SADD', busy, tenant_id) end
return reply
