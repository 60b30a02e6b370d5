-- Stores the answer to an idempotent call, and deletes the tenant's oldest ones when there is no room.
--
-- KEYS  1 answer  2 kept_index (zset: member name:size, score ms)  3 kept_bytes
-- ARGV  1 value  2 keep_ms  3 most_bytes a tenant may have kept  4 name of the answer  5 key_prefix of the tenant's answers
-- Reply the bytes kept
local answer, kept_index, kept_bytes = unpack(KEYS)
local value, keep_ms, most_bytes, name, key_prefix = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local size = string.len(value)
redis.call('SET', answer, value, 'PX', keep_ms)
redis.call('ZADD', kept_index, now, name .. ':' .. size)
local kept = redis.call('INCRBY', kept_bytes, size)
while true do
  local oldest = redis.call('ZRANGE', kept_index, 0, 0, 'WITHSCORES')
  if not oldest[1] then break end
  if kept <= tonumber(most_bytes) and tonumber(oldest[2]) > now - keep_ms then break end
  local oldest_name, oldest_size = string.match(oldest[1], '^(%x+):(%d+)$')
  redis.call('ZREM', kept_index, oldest[1])
  kept = redis.call('DECRBY', kept_bytes, oldest_size)
  if oldest_name ~= name then redis.call('DEL', key_prefix .. oldest_name) end
end
redis.call('PEXPIRE', kept_index, keep_ms)
redis.call('PEXPIRE', kept_bytes, keep_ms)
return kept
