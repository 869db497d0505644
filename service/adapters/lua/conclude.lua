#!lua
-- KEYS: outbox, states prefix, delivery prefix, messages, destinations prefix
-- ARGV: id, claim, new state, now, due, error, ref
local key = KEYS[3] .. ARGV[1]
local row = redis.call('HMGET', key, 'state', 'claim', 'conversation', 'action')
local state, claim, conversation, action = row[1], row[2], row[3], row[4]
if claim ~= ARGV[2] or (state ~= 'sending' and state ~= 'unknown') then return 0 end
redis.call('ZREM', KEYS[2] .. state, ARGV[1])
redis.call('ZADD', KEYS[2] .. ARGV[3], ARGV[4], ARGV[1])
redis.call('HSET', key, 'state', ARGV[3], 'due', ARGV[5], 'error', ARGV[6], 'ref', ARGV[7],
  'leased', 0, 'updated', ARGV[4])
local place = string.match(conversation, '|(.*)$')
if place then
  if ARGV[3] == 'sent' then
    redis.call('HINCRBY', KEYS[5] .. 'sent', place, 1)
    redis.call('HSET', KEYS[5] .. 'sent_at', place, ARGV[4])
    redis.call('HDEL', KEYS[5] .. 'failing', place)
    redis.call('HDEL', KEYS[5] .. 'error', place)
  else
    if ARGV[3] == 'dead' then redis.call('HINCRBY', KEYS[5] .. 'dead', place, 1) end
    redis.call('HSETNX', KEYS[5] .. 'failing', place, ARGV[4])
    redis.call('HSET', KEYS[5] .. 'error', place, ARGV[6])
  end
end
if ARGV[3] == 'sent' or ARGV[3] == 'dead' then
  if ARGV[3] == 'sent' and ARGV[7] ~= ''
    and (action ~= 'thread' or redis.call('HEXISTS', KEYS[4], conversation) == 0) then
    redis.call('HSET', KEYS[4], conversation, ARGV[7])
  end
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREM', conversation, ARGV[1])
  local next_id = redis.call('ZRANGE', conversation, 0, 0)[1]
  if next_id then redis.call('ZADD', KEYS[1], ARGV[4], next_id) end
else
  redis.call('ZADD', KEYS[1], ARGV[5], ARGV[1])
end
return 1
