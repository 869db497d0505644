#!lua
-- KEYS: outbox, deliveries, delivery prefix, conversation prefix, messages
-- ARGV: now, how many digests; for each: delivery id, incident id, destination, notice, facts, how many
--       posts it takes the place of, and of those the delivery ids and the claims
-- Puts digests into the outbox, and takes out the posts that they are in the place of, with all
-- that was to follow those. What follows later finds the digest in place of its post. Nothing is
-- done when one of the posts is not waiting any more: it may be on its way.
local digests, at = {}, 3
for _ = 1, tonumber(ARGV[2]) do
  local digest = {ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], {}, ARGV[at + 4]}
  for place = 1, tonumber(ARGV[at + 5]) do
    local id, claim = ARGV[at + 4 + 2 * place], ARGV[at + 5 + 2 * place]
    local row = redis.call('HMGET', KEYS[3] .. id, 'state', 'claim', 'leased')
    local is_free = tonumber(row[3] or '0') <= tonumber(ARGV[1])
    local waits = row[1] == 'ready' or (row[1] == 'unknown' and is_free)
    if not waits or row[2] ~= claim then return 0 end
    digest[5][place] = id
  end
  at = at + 6 + 2 * #digest[5]
  digests[#digests + 1] = digest
end
for _, digest in ipairs(digests) do
  local id, conversation = digest[1], KEYS[4] .. digest[2] .. '|' .. digest[3]
  for _, post in ipairs(digest[5]) do
    local told = redis.call('HGET', KEYS[3] .. post, 'conversation')
    for _, other in ipairs(redis.call('ZRANGE', told, 0, -1)) do
      local state = redis.call('HGET', KEYS[3] .. other, 'state')
      redis.call('ZREM', KEYS[2] .. ':' .. state, other)
      redis.call('ZADD', KEYS[2] .. ':superseded', ARGV[1], other)
      redis.call('HSET', KEYS[3] .. other, 'state', 'superseded', 'updated', ARGV[1],
        'error', 'told in digest ' .. id)
      redis.call('ZREM', KEYS[1], other)
    end
    redis.call('DEL', told)
    redis.call('HSET', KEYS[5], told, cjson.encode({digest = conversation}))
  end
  redis.call('HSET', KEYS[3] .. id, 'notice', digest[4], 'state', 'ready', 'due', ARGV[1],
    'decided', ARGV[1], 'attempts', 0, 'claim', 0, 'action', 'digest',
    'conversation', conversation, 'updated', ARGV[1])
  redis.call('ZADD', KEYS[2] .. ':ready', ARGV[1], id)
  note(KEYS[2], id, digest[6])
  redis.call('ZADD', conversation, 0, id)
  redis.call('ZADD', KEYS[1], ARGV[1], id)
end
return 1
