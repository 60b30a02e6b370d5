-- Decides who rebuilds a cold counter: the first to ask, for builder_ms. Everyone else, in any process, waits.
--
-- KEYS  1 counter
-- ARGV  1 field ('spent' or 'tokens')  2 builder (a nonce)  3 builder_ms it has
-- Reply WARM | YOURS | WAIT
-- Invariants: while there is a builder, `settle.lua` counts in `missed` the settles the counter could not take.
local counter = unpack(KEYS)
local field, builder, builder_ms = unpack(ARGV)
if redis.call('HEXISTS', counter, field) == 1 then return 'WARM' end
local other = redis.call('HGET', counter, 'builder')
if other and other ~= builder then return 'WAIT' end
redis.call('HSET', counter, 'builder', builder, 'missed', 0)
redis.call('PEXPIRE', counter, builder_ms)
return 'YOURS'
