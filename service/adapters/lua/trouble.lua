#!lua
-- KEYS: outbox, deliveries, delivery prefix, conversation prefix, troubles
-- ARGV: now, key, the trouble (empty when it is over), then for each notice: delivery id,
--       incident id, destination, seq, action, notice, facts
-- Notes that a trouble began or is over, and puts what is told of it into the outbox: once, however
-- many have seen it.
if ARGV[3] == '' then
  if redis.call('HDEL', KEYS[5], ARGV[2]) == 0 then return 0 end
elseif redis.call('HSETNX', KEYS[5], ARGV[2], ARGV[3]) == 0 then
  return 0
end
for at = 4, #ARGV, 7 do
  local id, conversation = ARGV[at], KEYS[4] .. ARGV[at + 1] .. '|' .. ARGV[at + 2]
  redis.call('HSET', KEYS[3] .. id, 'notice', ARGV[at + 5], 'state', 'ready', 'due', ARGV[1],
    'decided', ARGV[1], 'attempts', 0, 'claim', 0, 'action', ARGV[at + 4],
    'conversation', conversation, 'updated', ARGV[1])
  redis.call('ZADD', KEYS[2] .. ':ready', ARGV[1], id)
  note(KEYS[2], id, ARGV[at + 6])
  redis.call('ZADD', conversation, ARGV[at + 3], id)
  if redis.call('ZRANGE', conversation, 0, 0)[1] == id then
    redis.call('ZADD', KEYS[1], ARGV[1], id)
  end
end
return 1
