-- Says who rebuilds a cold counter: the first to ask, for a while; everyone else, in any process, waits for it.
--
-- KEYS  1 the counter
-- ARGV  1 field ('spent' or 'tokens')  2 builder (a nonce)  3 ms it has
-- Reply WARM | YOURS | WAIT
-- Invariants: while there is a builder, `settle.lua` counts in `missed` the settles the counter could not take.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 'WARM' end
local builder = redis.call('HGET', KEYS[1], 'builder')
if builder and builder ~= ARGV[2] then return 'WAIT' end
redis.call('HSET', KEYS[1], 'builder', ARGV[2], 'missed', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'YOURS'
