-- Seeds one cold counter with an absolute value, unless that was done already or a settle was missed meanwhile.
--
-- KEYS  1 leases  2 counter
-- ARGV  1 builder (as `begin_rebuild.lua` accepted it)  2 field ('spent' or 'tokens')  3 value
--       4 name (the counter's, in leases)  5 expires_at (epoch second)
-- Reply SEEDED | RETRY
-- Invariants: absolute, once; what open leases hold against this counter is counted from the leases themselves.
local leases, counter = unpack(KEYS)
local builder, field, value, name, expires_at = unpack(ARGV)
if redis.call('HEXISTS', counter, field) == 1 then return 'SEEDED' end
local build = redis.call('HMGET', counter, 'builder', 'missed')
if build[1] ~= builder or build[2] ~= '0' then return 'RETRY' end
local held = 0
for _, lease in ipairs(redis.call('HVALS', leases)) do
  local head = string.match(lease, '^[^\n]*')
  local hold, tokens = string.match(head, '^(%d+)|(%d+)|')
  if string.find(head .. '|', '|' .. name .. '|', 1, true) then
    held = held + tonumber(field == 'tokens' and tokens or hold)
  end
end
redis.call('HDEL', counter, 'builder', 'missed')
redis.call('HSET', counter, field, value, 'held', held)
redis.call('EXPIREAT', counter, expires_at)
return 'SEEDED'
