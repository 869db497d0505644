-- Notes what an item is found by. Of what it was found by before, only the sets need undoing.
local function note(prefix, id, packed)
  local facts = cmsgpack.unpack(packed)
  local before = redis.call('HGET', prefix .. ':sets', id)
  if before then
    for _, set in ipairs(cmsgpack.unpack(before)) do
      redis.call('SREM', prefix .. ':' .. set, id)
    end
  end
  for _, set in ipairs(facts.sets) do redis.call('SADD', prefix .. ':' .. set, id) end
  for order, score in pairs(facts.orders) do
    redis.call('ZADD', prefix .. ':by:' .. order, score, id)
  end
  redis.call('HSET', prefix .. ':sets', id, cmsgpack.pack(facts.sets))
  redis.call('HSET', prefix .. ':spans', id,
    cmsgpack.pack({facts.begins, facts.ends, facts.impact}))
end
