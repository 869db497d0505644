#!lua
-- KEYS: offset, findings, incidents, sources, notices, outbox, deliveries, delivery prefix,
--       conversation prefix, things prefix, intents, messages, refused prefix, told prefix,
--       holds
-- ARGV: previous, offset, now, counts (findings, incidents, sources, notices, things, intents,
--       refused, told, held), then the items, with the facts that they are found by. A thing without a
--       value is gone. What is told of an incident, alone or with others, is found again by the
--       incident, and an incident by each finding that it holds.
-- Everything is checked before the first write, and the offset moves last.
local saved = tonumber(redis.call('GET', KEYS[1]) or '0')
if saved >= tonumber(ARGV[2]) then return 'stale' end
if saved < tonumber(ARGV[1]) then return 'gap' end
local at = 13
for kind = 1, 2 do
  for _ = 1, tonumber(ARGV[3 + kind]) do
    note(KEYS[1 + kind], ARGV[at], ARGV[at + 1])
    redis.call('HSET', KEYS[1 + kind], ARGV[at], ARGV[at + 2])
    if kind == 2 then
      redis.call('ZADD', KEYS[3] .. ':saved', ARGV[2], ARGV[at])
      redis.call('ZADD', KEYS[3] .. ':names', 0, ARGV[at])
    end
    at = at + 3
  end
end
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[7]) do
  local id, incident, destination, seq, action, notice, decided =
    ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local state, due, err, ref = ARGV[at + 7], ARGV[at + 8], ARGV[at + 9], ARGV[at + 10]
  local facts = ARGV[at + 11]
  at = at + 12
  local key = KEYS[8] .. id
  if redis.call('EXISTS', key) == 0 then
    local conversation = KEYS[9] .. incident .. '|' .. destination
    -- Who claimed it in a store that was lost must not hold this claim too.
    local claim = (state == 'unknown') and string.format('%d', tonumber(due)) or 0
    redis.call('HSET', key, 'notice', notice, 'state', state, 'due', due, 'decided', decided,
      'attempts', 0, 'claim', claim, 'action', action, 'conversation', conversation, 'updated', ARGV[3],
      'error', err, 'ref', ref)
    redis.call('ZADD', KEYS[7] .. ':' .. state, ARGV[3], id)
    note(KEYS[7], id, facts)
    if state == 'ready' or state == 'unknown' then
      redis.call('ZADD', conversation, seq, id)
      if redis.call('ZRANGE', conversation, 0, 0)[1] == id then
        redis.call('ZADD', KEYS[6], due, id)
      end
    elseif ref ~= '' and (action ~= 'thread' or redis.call('HEXISTS', KEYS[12], conversation) == 0)
    then
      redis.call('HSET', KEYS[12], conversation, ref)
    end
    redis.call('HSET', KEYS[5], incident, notice)
  end
end
for _ = 1, tonumber(ARGV[8]) do
  if ARGV[at + 2] == '' then
    redis.call('HDEL', KEYS[10] .. ARGV[at], ARGV[at + 1])
  else
    redis.call('HSET', KEYS[10] .. ARGV[at], ARGV[at + 1], ARGV[at + 2])
  end
  at = at + 3
end
for _ = 1, tonumber(ARGV[9]) do
  note(KEYS[11], ARGV[at], ARGV[at + 1])
  redis.call('HSET', KEYS[11], ARGV[at], ARGV[at + 2])
  at = at + 3
end
for _ = 1, tonumber(ARGV[10]) do
  redis.call('SET', KEYS[13] .. ARGV[at], ARGV[at + 1], 'EX', 3600)
  at = at + 2
end
for _ = 1, tonumber(ARGV[11]) do
  redis.call('ZADD', KEYS[14] .. ARGV[at], ARGV[at + 1], ARGV[at + 2])
  at = at + 3
end
for _ = 1, tonumber(ARGV[12]) do
  redis.call('HSET', KEYS[15], ARGV[at], ARGV[at + 1])
  at = at + 2
end
redis.call('SET', KEYS[1], ARGV[2])
return 'saved'
