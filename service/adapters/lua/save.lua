#!lua
-- KEYS: offset, findings, findings:time, incidents, incidents:time, incidents:firing, sources,
--       notices, outbox, states prefix, delivery prefix, conversation prefix, things prefix, intents,
--       intents:time, messages, refused prefix, told prefix
-- ARGV: previous, offset, now, counts (findings, incidents, sources, notices, things, intents,
--       refused, told), then the items. A thing without a value is gone.
-- What is told of an incident, alone or with others, is found again by the incident.
-- Everything is checked before the first write, and the offset moves last.
local saved = tonumber(redis.call('GET', KEYS[1]) or '0')
if saved >= tonumber(ARGV[2]) then return 'stale' end
if saved < tonumber(ARGV[1]) then return 'gap' end
local at = 12
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
  local state, due, err, ref = ARGV[at + 7], ARGV[at + 8], ARGV[at + 9], ARGV[at + 10]
  at = at + 11
  local key = KEYS[11] .. id
  if redis.call('EXISTS', key) == 0 then
    local conversation = KEYS[12] .. incident .. '|' .. destination
    -- Who claimed it in a store that was lost must not hold this claim too.
    local claim = (state == 'unknown') and string.format('%d', tonumber(due)) or 0
    redis.call('HSET', key, 'notice', notice, 'state', state, 'due', due, 'decided', decided,
      'attempts', 0, 'claim', claim, 'action', action, 'conversation', conversation, 'updated', ARGV[3],
      'error', err, 'ref', ref)
    redis.call('ZADD', KEYS[10] .. state, ARGV[3], id)
    if state == 'ready' or state == 'unknown' then
      redis.call('ZADD', conversation, seq, id)
      if redis.call('ZRANGE', conversation, 0, 0)[1] == id then
        redis.call('ZADD', KEYS[9], due, id)
      end
    elseif ref ~= '' and (action ~= 'thread' or redis.call('HEXISTS', KEYS[16], conversation) == 0)
    then
      redis.call('HSET', KEYS[16], conversation, ref)
    end
    redis.call('HSET', KEYS[8], incident, notice)
  end
end
for _ = 1, tonumber(ARGV[8]) do
  if ARGV[at + 2] == '' then
    redis.call('HDEL', KEYS[13] .. ARGV[at], ARGV[at + 1])
  else
    redis.call('HSET', KEYS[13] .. ARGV[at], ARGV[at + 1], ARGV[at + 2])
  end
  at = at + 3
end
for _ = 1, tonumber(ARGV[9]) do
  redis.call('HSET', KEYS[14], ARGV[at], ARGV[at + 2])
  redis.call('ZADD', KEYS[15], ARGV[at + 1], ARGV[at])
  at = at + 3
end
for _ = 1, tonumber(ARGV[10]) do
  redis.call('SET', KEYS[17] .. ARGV[at], ARGV[at + 1], 'EX', 3600)
  at = at + 2
end
for _ = 1, tonumber(ARGV[11]) do
  redis.call('ZADD', KEYS[18] .. ARGV[at], ARGV[at + 1], ARGV[at + 2])
  at = at + 3
end
redis.call('SET', KEYS[1], ARGV[2])
return 'saved'
