-- Keeps the answer to an idempotent call, and lets the tenant's oldest go when there is no room.
--
-- KEYS  1 the answer  2 index zset (member: name:size, score: ms)  3 bytes kept
-- ARGV  1 value  2 ms to keep it  3 bytes a tenant may have kept  4 name of the answer's key
--       5 prefix of the tenant's answers
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local size = string.len(ARGV[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[4] .. ':' .. size)
local kept = redis.call('INCRBY', KEYS[3], size)
while true do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if not oldest[1] then break end
  if kept <= tonumber(ARGV[3]) and tonumber(oldest[2]) > now - ARGV[2] then break end
  local name, bytes = string.match(oldest[1], '^(%x+):(%d+)$')
  redis.call('ZREM', KEYS[2], oldest[1])
  kept = redis.call('DECRBY', KEYS[3], bytes)
  if name ~= ARGV[4] then redis.call('DEL', ARGV[5] .. name) end
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return kept
