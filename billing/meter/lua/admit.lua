-- Admits one call: takes the first candidate that fits every limit and opens a lease for it, or says what refused.
--
-- KEYS  1 shard hash        epoch, opens_ms, policy (token of all policies)
--       2 tenant hash       policy (its own token)
--       3 leases hash       request id -> lease
--       4 rpm zset   5 end user's rpm zset   6 key's rpm zset      (score: µs, member: request id)
--       7 tenant budget  8 key budget  9 end user budget  10 run budget  (hash: spent, held in nano-USD; the
--         tenant's also saving, while cheaper candidates are preferred)
--       11 day hash         tokens, held
--       12 busy set         tenants with open leases
--       13 conversation     the candidate that serves it   14 rpm zset of a limit in shadow
-- ARGV  of every call under one policy, in one period and day:
--       1 tenant id   2 token of all policies   3 tenant's token
--       4 period start  5 period end  6 day start  7 day end         (epoch seconds the caller believes in)
--       8 requests/min  9 end user's  10 key's  11 concurrency  12 tokens/day             (-1: no limit)
--       13 tenant budget  14 key's  15 end user's  (nano-USD; -1: no limit; of an end user only where one is named)
--       16 spend from which cheaper candidates are preferred (-1: never)  17 spend below which no longer
--       18 requests/min in shadow (-1: none)
--       of this call:
--       19 request id  20 run's budget (nano-USD; -1: no limit)
--       21 seconds a conversation keeps its candidate (0: it keeps none)   22 '1' only asks: nothing is written
--       23 tokens to hold for the day
--       24 lease head after hold, tokens, index, held output tokens, time    25 opaque facts
--       26.. six a candidate: passed over while saving ('1'), input hold, nano-USD per output token,
--            max_tokens, min_tokens, tokens of output to hold for at first
-- Reply OK index max_tokens held_tokens hold clamped spent held rpm_limit rpm_used day_tokens now_us open over_shadow saving
--         (rpm: of the window with the least room, limit -1 where none is kept; day_tokens: used and held)
--       STALE | WARMING ms | ROLLOVER now_s | COLD key_number...
--       REFUSED what a b c   (rate, user_rate, key_rate: retry_ms; concurrency; tokens; budget: key_number spent held;
--                             declined, for want of a cheaper candidate: key_number spent held)
-- Invariants: nothing is written before the last refusal; spent + held + hold <= budget for every budget kept.
-- End users and runs come by the hundred thousand: a counter nobody asked for in a day leaves, and is rebuilt if need be.
local IDLE_SECONDS = 86400
local shard = redis.call('HMGET', KEYS[1], 'epoch', 'opens_ms', 'policy')
local time = redis.call('TIME')
local now_s, now_us = tonumber(time[1]), time[1] * 1000000 + time[2]
if not shard[1] then return {'COLD', 1} end
local opens_ms = tonumber(shard[2] or 0)
if now_us < opens_ms * 1000 then return {'WARMING', opens_ms - math.floor(now_us / 1000)} end
if shard[3] ~= ARGV[2] or redis.call('HGET', KEYS[2], 'policy') ~= ARGV[3] then return {'STALE'} end
if now_s < tonumber(ARGV[4]) or now_s >= tonumber(ARGV[5]) or now_s < tonumber(ARGV[6]) or now_s >= tonumber(ARGV[7]) then
  return {'ROLLOVER', now_s}
end

-- Every counter must be there before anything is decided: a missing one is not zero. One without a limit is kept up
-- while it is there, so that a limit set later finds it true; a name nobody gave is the tenant hash.
local budgets, cold = {}, {'COLD'}
for number = 7, 10 do
  local limit = tonumber(ARGV[number == 10 and 20 or number + 6])
  if KEYS[number] ~= KEYS[2] then
    local counter = redis.call('HMGET', KEYS[number], 'spent', 'held', 'saving')
    if counter[1] then
      budgets[#budgets + 1] = {
        number = number, limit = limit, spent = tonumber(counter[1]), held = tonumber(counter[2]), saving = counter[3]}
    elseif limit >= 0 or number == 7 then
      cold[#cold + 1] = number
    end
  end
end
local day = redis.call('HMGET', KEYS[11], 'tokens', 'held')
if not day[1] then cold[#cold + 1] = 11 end
if #cold > 1 then return cold end

local since = now_us - 60000000
local windows = {{4, tonumber(ARGV[8]), 'rate'}, {6, tonumber(ARGV[10]), 'key_rate'}}
if KEYS[5] ~= KEYS[2] then table.insert(windows, 2, {5, tonumber(ARGV[9]), 'user_rate'}) end
local rpm_limit, rpm_used = -1, 0
for _, window in ipairs(windows) do
  local key, limit = KEYS[window[1]], window[2]
  if limit >= 0 then
    local used = redis.call('ZCOUNT', key, '(' .. string.format('%.0f', since), '+inf')
    if used >= limit then
      if limit == 0 then return {'REFUSED', window[3], 60000} end
      local frees = redis.call('ZREVRANGE', key, limit - 1, limit - 1, 'WITHSCORES')
      return {'REFUSED', window[3], math.ceil((frees[2] - since) / 1000)}
    end
    if rpm_limit < 0 or limit - used < rpm_limit - rpm_used then rpm_limit, rpm_used = limit, used end
  end
end
local concurrency = tonumber(ARGV[11])
local open = redis.call('HLEN', KEYS[3])
if concurrency >= 0 and open >= concurrency then return {'REFUSED', 'concurrency', concurrency} end
local shadow_limit, over_shadow = tonumber(ARGV[18]), 0
if shadow_limit >= 0 then
  if redis.call('ZCOUNT', KEYS[14], '(' .. string.format('%.0f', since), '+inf') < shadow_limit then
    windows[#windows + 1] = {14, shadow_limit}
  else
    over_shadow = 1
  end
end
local tokens_limit, tokens_used = tonumber(ARGV[12]), tonumber(day[1])
if tokens_limit >= 0 and tokens_used + tonumber(day[2]) >= tokens_limit then
  return {'REFUSED', 'tokens', tokens_used, tonumber(day[2])}
end

-- The ladder: candidates whole and in order, then clamped from the cheapest (the last) upwards. What costs nothing
-- passes a budget that is overdrawn.
local room, tightest = nil, nil
for _, budget in ipairs(budgets) do
  if budget.limit >= 0 then
    local left = budget.limit - budget.spent - budget.held
    if not room or left < room then room, tightest = left, budget end
  end
end
-- Near the threshold, a conversation stays where its prompt is cached.
local spent, saving_from, saving_until = budgets[1].spent, tonumber(ARGV[16]), tonumber(ARGV[17])
local near = saving_from >= 0 and spent >= saving_until
local saving = near and (budgets[1].saving or spent >= saving_from)
local keeps = tonumber(ARGV[21])
local kept = near and keeps > 0 and tonumber(redis.call('GET', KEYS[13])) or nil
local count = (#ARGV - 25) / 6
local index, max_tokens, paid, hold, clamped
local function passed(candidate) return saving and not kept and ARGV[20 + candidate * 6] == '1' end
for candidate = kept or 1, count do
  local at = 20 + candidate * 6
  local input, output = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local wanted, first = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 5])
  if not passed(candidate) and (not room or input + output * first <= math.max(room, 0)) then
    index, max_tokens, paid, hold, clamped = candidate, wanted, first, input + output * first, 0
    break
  end
end
if not index and passed(count) then return {'REFUSED', 'declined', 7, spent, budgets[1].held} end
if not index then
  for candidate = count, 1, -1 do
    local at = 20 + candidate * 6
    local input, output, least = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 4])
    local affordable = output > 0 and math.floor((room - input) / output) or 0
    if not passed(candidate) and affordable >= least and affordable >= 1 then
      index, max_tokens, paid, hold, clamped = candidate, affordable, affordable, input + output * affordable, 1
      break
    end
  end
end
if not index then return {'REFUSED', 'budget', tightest.number, tightest.spent, tightest.held} end
local day_tokens = tokens_used + tonumber(day[2]) + ARGV[23]
local reply = {'OK', index, max_tokens, paid, hold, clamped, spent, budgets[1].held + hold, rpm_limit, rpm_used + 1, day_tokens,
  now_us, open, over_shadow, saving and 1 or 0}
if ARGV[22] == '1' then return reply end

for _, window in ipairs(windows) do
  if window[2] >= 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[window[1]], '-inf', string.format('%.0f', since))
    redis.call('ZADD', KEYS[window[1]], string.format('%.0f', now_us), ARGV[19])
    redis.call('PEXPIRE', KEYS[window[1]], 61000)
  end
end
for _, budget in ipairs(budgets) do
  redis.call('HINCRBY', KEYS[budget.number], 'held', hold)
  if budget.number >= 9 then redis.call('EXPIRE', KEYS[budget.number], IDLE_SECONDS) end
end
if saving and not budgets[1].saving then redis.call('HSET', KEYS[7], 'saving', 1) end
if budgets[1].saving and not saving then redis.call('HDEL', KEYS[7], 'saving') end
if near and keeps > 0 and index ~= kept then redis.call('SET', KEYS[13], index, 'EX', keeps) end
redis.call('HINCRBY', KEYS[11], 'held', ARGV[23])
local head = table.concat({string.format('%.0f', hold), ARGV[23], index, paid, string.format('%.0f', now_us), ARGV[24]}, '|')
redis.call('HSET', KEYS[3], ARGV[19], head .. '\n' .. ARGV[25])
if open == 0 then redis.call('SADD', KEYS[12], ARGV[1]) end
return reply
