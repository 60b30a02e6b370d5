-- Records that a worker lives, and returns up to where its journal may be forgotten.
--
-- KEYS  1 shard (hash)  2 workers (zset)  3 usage (stream)
-- ARGV  1 worker
-- Reply epoch ('' if the shard has none)  oldest entry still in the stream, or now: all older ones are drained
local shard, workers, usage = unpack(KEYS)
local worker = unpack(ARGV)
local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('ZADD', workers, now_ms, worker)
local oldest = redis.call('XRANGE', usage, '-', '+', 'COUNT', 1)[1]
return {redis.call('HGET', shard, 'epoch') or '', oldest and oldest[1] or now_ms .. '-0'}
