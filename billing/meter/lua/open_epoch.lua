-- Opens a shard's meter after a flush or on its first start: sets a new epoch, which admits only after a quarantine in
-- which every worker puts back the leases and settles it still knows.
--
-- KEYS  1 shard (hash)
-- ARGV  1 epoch  2 quarantine_ms  3 policy_token
-- Reply the epoch in force
local shard = unpack(KEYS)
local epoch, quarantine_ms, policy_token = unpack(ARGV)
local current = redis.call('HGET', shard, 'epoch')
if current then return current end
local time = redis.call('TIME')
redis.call('HSET', shard, 'epoch', epoch, 'opens_ms', time[1] * 1000 + math.floor(time[2] / 1000) + quarantine_ms)
redis.call('HSETNX', shard, 'policy', policy_token)
return epoch
