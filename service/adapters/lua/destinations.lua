#!lua flags=no-writes
-- KEYS: states prefix, delivery prefix   ARGV: how many deliveries of a state to look at, the states
-- Returns, for each state, names of destinations and how many wait there.
local answers = {}
for at = 2, #ARGV do
  local counts, found = {}, {}
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1] .. ARGV[at], 0, ARGV[1] - 1)) do
    local talk = redis.call('HGET', KEYS[2] .. id, 'conversation')
    local name = talk and string.match(talk, '^[^|]*|(.*)$')
    if name then counts[name] = (counts[name] or 0) + 1 end
  end
  for name, count in pairs(counts) do
    found[#found + 1] = name
    found[#found + 1] = count
  end
  answers[at - 1] = found
end
return answers
