-- Settles one lease: hold becomes cost, and the usage event goes into the stream. Once, by request id.
--
-- KEYS  1 leases hash  2 tenant budget  3 key budget  4 end user budget  5 run budget  6 day hash
--       7 busy set  8 usage stream  9 tombstone of the request id
-- ARGV  1 request id  2 tenant id  3 hold  4 cost  (nano-USD)  5 tokens held  6 tokens used  7 event
--       8 kept budgets, e.g. '1001' for tenant and run   9 thresholds 'percent:nano,...' of the tenant's budget
--       10 tombstone seconds  11 tombstone text ('settled', 'reaped'; 'reaped again' repeats a reap whose lease is lost)
-- Reply OK spent held entry | DONE (already settled) | LATE (settled after the reaper did: event marked, counters kept)
-- Invariants: an event is appended whether or not the counters are there; a cold counter is never created here,
--   but whoever is rebuilding it learns that a settle passed it by.
local id, hold, cost = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local lease = redis.call('HGET', KEYS[1], id)
local existed = redis.call('HDEL', KEYS[1], id) == 1
-- What the lease says: an extension may have been granted whose answer its caller never saw.
if lease then hold = tonumber(string.match(lease, '^%d+')) end
if not existed then
  local tombstone = redis.call('GET', KEYS[9])
  if tombstone == 'reaped' and ARGV[11] == 'settled' then
    redis.call('XADD', KEYS[8], '*', 'e', ARGV[7], 'late', '1')
    redis.call('SET', KEYS[9], 'settled', 'EX', ARGV[10])
    return {'LATE'}
  end
  if tombstone or ARGV[11] == 'reaped' then return {'DONE'} end
end
if redis.call('HLEN', KEYS[1]) == 0 then redis.call('SREM', KEYS[7], ARGV[2]) end

local spent, held = 0, 0
for number = 1, 4 do
  if string.sub(ARGV[8], number, number) == '1' then
    local key = KEYS[number + 1]
    if redis.call('HEXISTS', key, 'spent') == 1 then
      local after = redis.call('HINCRBY', key, 'spent', cost)
      local left = existed and redis.call('HINCRBY', key, 'held', -hold) or 0
      if number == 1 then spent, held = after, left end
    elseif redis.call('HEXISTS', key, 'missed') == 1 then
      redis.call('HINCRBY', key, 'missed', 1)
    end
  end
end
if redis.call('HEXISTS', KEYS[6], 'tokens') == 1 then
  redis.call('HINCRBY', KEYS[6], 'tokens', ARGV[6])
  if existed then redis.call('HINCRBY', KEYS[6], 'held', -tonumber(ARGV[5])) end
elseif redis.call('HEXISTS', KEYS[6], 'missed') == 1 then
  redis.call('HINCRBY', KEYS[6], 'missed', 1)
end
local crossed = {}
for percent, line in string.gmatch(ARGV[9], '(%d+):(%d+)') do
  line = tonumber(line)
  if spent >= line and spent - cost < line then crossed[#crossed + 1] = percent end
end
local entry = redis.call('XADD', KEYS[8], '*', 'e', ARGV[7], 'crossed', table.concat(crossed, ','), 'spent', spent)
redis.call('SET', KEYS[9], string.match(ARGV[11], '^%a+'), 'EX', ARGV[10])
return {'OK', spent, held, entry}
