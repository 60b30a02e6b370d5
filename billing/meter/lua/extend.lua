-- Holds more for a lease that is open: as many tokens as every budget has room for, at most those asked for.
--
-- KEYS  1 leases hash  2 tenant budget  3 key budget  4 end user budget  5 run budget
-- ARGV  1 request id  2 tokens asked for  3 nano-USD per token  4 kept budgets, e.g. '1001'
--       5 tenant budget  6 key's  7 end user's  8 run's  (nano-USD; -1: no limit)
--       9 whether what is asked for is tokens of output ('1') or money, a nano-USD each ('0')
-- Reply OK tokens | REFUSED budget_number spent held | GONE (no such lease) | COLD budget_number (it is limited and not there)
-- Invariants: spent + held <= budget for every budget kept; the lease says what it holds, for whoever settles it.
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if not lease then return {'GONE'} end
local hold, tokens, index, paid, rest = string.match(lease, '^(%d+)|(%d+)|(%d+)|(%d+)(|.*)$')
local granted, price = tonumber(ARGV[2]), tonumber(ARGV[3])
local tightest
local warm = {}
for number = 1, 4 do
  local limit = tonumber(ARGV[number + 4])
  if string.sub(ARGV[4], number, number) == '1' then
    local counter = redis.call('HMGET', KEYS[number + 1], 'spent', 'held')
    if counter[1] then
      warm[#warm + 1] = KEYS[number + 1]
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
for _, counter in ipairs(warm) do redis.call('HINCRBY', counter, 'held', granted * price) end
local head = table.concat({string.format('%.0f', hold + granted * price), tokens, index, paid + granted * ARGV[9]}, '|')
redis.call('HSET', KEYS[1], ARGV[1], head .. rest)
return {'OK', granted}
