#!lua
-- KEYS: outbox, deliveries, delivery prefix, conversation prefix, told prefix
-- ARGV: now, then for each notice: delivery id, incident id, destination, seq, notice, facts
-- Puts posts into the outbox that no log holds. What is there already is left as it is.
local new = 0
for at = 2, #ARGV, 6 do
  local id, conversation = ARGV[at], KEYS[4] .. ARGV[at + 1] .. '|' .. ARGV[at + 2]
  local key = KEYS[3] .. id
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'notice', ARGV[at + 4], 'state', 'ready', 'due', ARGV[1],
      'decided', ARGV[1], 'attempts', 0, 'claim', 0, 'action', 'post',
      'conversation', conversation, 'updated', ARGV[1])
    redis.call('ZADD', KEYS[2] .. ':ready', ARGV[1], id)
    note(KEYS[2], id, ARGV[at + 5])
    redis.call('ZADD', conversation, ARGV[at + 3], id)
    if redis.call('ZRANGE', conversation, 0, 0)[1] == id then
      redis.call('ZADD', KEYS[1], ARGV[1], id)
    end
    redis.call('ZADD', KEYS[5] .. ARGV[at + 1], ARGV[1], id)
    new = new + 1
  end
end
return new
