-- Seeds one cold counter with an absolute value, unless someone did so already or something was settled meanwhile.
--
-- KEYS  1 tenant hash  2 leases hash  3 the counter
-- ARGV  1 settles counted when the value was computed  2 field ('spent' or 'tokens')  3 value
--       4 the counter's name in leases  5 epoch second at which it may go
-- Reply SEEDED | RETRY
-- Invariants: absolute, once; what open leases hold against this counter is counted from the leases themselves.
if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then return 'SEEDED' end
if (redis.call('HGET', KEYS[1], 'settled') or '0') ~= ARGV[1] then return 'RETRY' end
local held = 0
for _, lease in ipairs(redis.call('HVALS', KEYS[2])) do
  local head = string.match(lease, '^[^\n]*')
  local hold, tokens = string.match(head, '^(%d+)|(%d+)|')
  if string.find(head .. '|', '|' .. ARGV[4] .. '|', 1, true) then
    held = held + tonumber(ARGV[2] == 'tokens' and tokens or hold)
  end
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3], 'held', held)
redis.call('EXPIREAT', KEYS[3], ARGV[5])
return 'SEEDED'
