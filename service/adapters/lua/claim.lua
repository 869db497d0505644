#!lua
-- KEYS: outbox, states prefix, delivery prefix        ARGV: now, lease end
-- The outbox holds only the oldest unsent delivery of each conversation, by the time it is due. Of
-- what is due, first posts go first, in the order in which they were decided: a repeat is due later.
while true do
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 64)
  local id, first = due[1], math.huge
  if not id then return false end
  for _, other in ipairs(due) do
    local post = redis.pcall('HMGET', KEYS[3] .. other, 'action', 'decided')
    local decided = tonumber(post[2] or '')
    if post[1] == 'post' and decided and decided < first then id, first = other, decided end
  end
  local key = KEYS[3] .. id
  local row = redis.pcall('HMGET', key, 'state', 'action', 'conversation', 'claim', 'attempts')
  local state, action, conversation = row[1], row[2], row[3]
  -- What was put here by another hand must not stand in the way of all others.
  if row.err or not (state and action and conversation)
    or not tonumber(row[4]) or not tonumber(row[5])
    or redis.call('TYPE', conversation).ok ~= 'zset' then
    for _, name in ipairs({'ready', 'sending', 'unknown'}) do
      redis.call('ZREM', KEYS[2] .. name, id)
    end
    redis.call('ZADD', KEYS[2] .. 'dead', ARGV[1], id)
    redis.call('ZREM', KEYS[1], id)
    return {id}
  end
  local next_id = redis.call('ZRANGE', conversation, 1, 1)[1]
  local superseded = false
  if action == 'edit' and state == 'ready' and next_id then
    -- An edit replaces the whole post, so that only the newest of several is worth sending.
    for _, later in ipairs(redis.call('ZRANGE', conversation, 1, -1)) do
      if redis.call('HGET', KEYS[3] .. later, 'action') == 'edit' then superseded = true end
    end
  end
  redis.call('ZREM', KEYS[2] .. state, id)
  if superseded then
    redis.call('HSET', key, 'state', 'superseded', 'updated', ARGV[1])
    redis.call('ZADD', KEYS[2] .. 'superseded', ARGV[1], id)
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', conversation, id)
    redis.call('ZADD', KEYS[1], ARGV[1], next_id)
  else
    -- A claim that ran out may have been sent: whoever takes it over must look first.
    local taken = (state == 'ready') and 'sending' or 'unknown'
    redis.call('HSET', key, 'state', taken, 'due', ARGV[2], 'leased', ARGV[2], 'updated', ARGV[1])
    redis.call('HINCRBY', key, 'claim', 1)
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('ZADD', KEYS[2] .. taken, ARGV[1], id)
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    return id
  end
end
