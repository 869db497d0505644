#!lua
-- KEYS: offset, findings, findings:time, incidents, incidents:time, incidents:firing, sources,
--       notices, outbox, states prefix, delivery prefix, conversation prefix, things prefix, intents,
--       intents:time
-- ARGV: previous, offset, now, counts (findings, incidents, sources, notices), the state of new
--       deliveries, counts (things, intents), then the items. A thing without a value is gone.
-- Everything is checked before the first write, and the offset moves last.
local saved = tonumber(redis.call('GET', KEYS[1]) or '0')
if saved >= tonumber(ARGV[2]) then return 'stale' end
if saved < tonumber(ARGV[1]) then return 'gap' end
local at = 11
for _ = 1, tonumber(ARGV[4]) do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2])
  redis.call('ZADD', KEYS[3], ARGV[at + 1], ARGV[at])
  at = at + 3
end
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 3])
  redis.call('ZADD', KEYS[5], ARGV[at + 1], ARGV[at])
  if ARGV[at + 2] == 'resolved' then
    redis.call('SREM', KEYS[6], ARGV[at])
  else
    redis.call('SADD', KEYS[6], ARGV[at])
  end
  at = at + 4
end
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HSET', KEYS[7], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[7]) do
  local id, incident, destination, seq, action, notice, decided =
    ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  at = at + 7
  local key = KEYS[11] .. id
  if redis.call('EXISTS', key) == 0 then
    local conversation = KEYS[12] .. incident .. '|' .. destination
    redis.call('HSET', key, 'notice', notice, 'state', ARGV[8], 'due', ARGV[3], 'decided', decided,
      'attempts', 0, 'claim', 0, 'action', action, 'conversation', conversation, 'updated', ARGV[3])
    redis.call('ZADD', KEYS[10] .. ARGV[8], ARGV[3], id)
    redis.call('ZADD', conversation, seq, id)
    if redis.call('ZRANGE', conversation, 0, 0)[1] == id then
      redis.call('ZADD', KEYS[9], ARGV[3], id)
    end
    redis.call('HSET', KEYS[8], incident, notice)
  end
end
for _ = 1, tonumber(ARGV[9]) do
  if ARGV[at + 2] == '' then
    redis.call('HDEL', KEYS[13] .. ARGV[at], ARGV[at + 1])
  else
    redis.call('HSET', KEYS[13] .. ARGV[at], ARGV[at + 1], ARGV[at + 2])
  end
  at = at + 3
end
for _ = 1, tonumber(ARGV[10]) do
  redis.call('HSET', KEYS[14], ARGV[at], ARGV[at + 2])
  redis.call('ZADD', KEYS[15], ARGV[at + 1], ARGV[at])
  at = at + 3
end
redis.call('SET', KEYS[1], ARGV[2])
return 'saved'
