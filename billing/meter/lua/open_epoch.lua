-- Opens a shard's meter after a flush or on its first start: a new epoch, admitting only after a quarantine
-- in which every worker puts back the leases and settles it still remembers.
--
-- KEYS  1 shard hash
-- ARGV  1 epoch  2 quarantine ms  3 policy token
-- Reply the epoch in force
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch then return epoch end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'opens_ms', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
redis.call('HSETNX', KEYS[1], 'policy', ARGV[3])
return ARGV[1]
