#!lua
-- KEYS: outbox, states prefix, delivery prefix        ARGV: now, when to look
-- Takes back every claim: whoever held one is dead. What was under way may have been sent.
local count = 0
for _, state in ipairs({'sending', 'unknown'}) do
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2] .. state, 0, -1)) do
    local key = KEYS[3] .. id
    local row = redis.pcall('HMGET', key, 'state', 'leased')
    if not row.err and row[1] == state and tonumber(row[2] or '0') > tonumber(ARGV[1]) then
      redis.call('ZREM', KEYS[2] .. state, id)
      redis.call('ZADD', KEYS[2] .. 'unknown', ARGV[1], id)
      redis.call('HSET', key, 'state', 'unknown', 'due', ARGV[2], 'leased', 0, 'updated', ARGV[1])
      redis.call('HINCRBY', key, 'claim', 1)
      redis.call('ZADD', KEYS[1], ARGV[2], id)
      count = count + 1
    end
  end
end
return count
