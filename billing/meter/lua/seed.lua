-- Seeds one cold counter with an absolute value, unless someone did so already or a settle was missed meanwhile.
--
-- KEYS  1 leases hash  2 the counter
-- ARGV  1 builder, as `begin_rebuild.lua` accepted it  2 field ('spent' or 'tokens')  3 value
--       4 the counter's name in leases  5 epoch second at which it may go
-- Reply SEEDED | RETRY
-- Invariants: absolute, once; what open leases hold against this counter is counted from the leases themselves.
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 'SEEDED' end
local build = redis.call('HMGET', KEYS[2], 'builder', 'missed')
if build[1] ~= ARGV[1] or build[2] ~= '0' then return 'RETRY' end
local held = 0
for _, lease in ipairs(redis.call('HVALS', KEYS[1])) do
  local head = string.match(lease, '^[^\n]*')
  local hold, tokens = string.match(head, '^(%d+)|(%d+)|')
  if string.find(head .. '|', '|' .. ARGV[4] .. '|', 1, true) then
    held = held + tonumber(ARGV[2] == 'tokens' and tokens or hold)
  end
end
redis.call('HDEL', KEYS[2], 'builder', 'missed')
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3], 'held', held)
redis.call('EXPIREAT', KEYS[2], ARGV[5])
return 'SEEDED'
