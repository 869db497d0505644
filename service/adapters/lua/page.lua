#!lua flags=no-writes
-- KEYS: prefix of the items, what they must also be in, if anything   ARGV: what is asked, packed
-- Returns, for each set that was looked into, the names and scores of what passes, in order.
local prefix, within = KEYS[1], KEYS[2]
local asked = cmsgpack.unpack(ARGV[1])
local order = prefix .. ':by:' .. asked.order
local FEW, CHUNK = 1000, 200
local has_span = asked.since or asked['until'] or asked.least

local function is_before(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = a:byte(at), b:byte(at)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function is_shown(id, score)
  if not asked.after_name or score < asked.after_score then return false end
  return score > asked.after_score or not is_before(id, asked.after_name)
end

local function passes(packed)
  local begins, ends, impact = unpack(cmsgpack.unpack(packed))
  return not (asked.since and ends < asked.since)
    and not (asked['until'] and begins >= asked['until'])
    and not (asked.least and impact < asked.least)
end

-- Keeps those names that are in one of the sets.
local function kept(ids, sets)
  local left, is_in = {}, {}
  for _, set in ipairs(sets) do
    for at, found in ipairs(redis.call('SMISMEMBER', prefix .. ':' .. set, unpack(ids))) do
      if found == 1 then is_in[at] = true end
    end
  end
  for at, id in ipairs(ids) do
    if is_in[at] then left[#left + 1] = id end
  end
  return left
end

-- Takes names and scores, the greatest first, until there are enough; tells whether there are.
local function take(found, ranked, is_tested)
  if #ranked == 0 then return true end
  local ids, scores = {}, {}
  for at = 1, #ranked, 2 do
    if not is_shown(ranked[at], tonumber(ranked[at + 1])) then
      ids[#ids + 1] = ranked[at]
      scores[ranked[at]] = ranked[at + 1]
    end
  end
  for _, sets in ipairs(asked.sets) do
    if #ids > 0 and not is_tested[sets] then ids = kept(ids, sets) end
  end
  if #ids == 0 then return false end
  local spans = has_span and redis.call('HMGET', prefix .. ':spans', unpack(ids))
  local inside = within and redis.call('ZMSCORE', within, unpack(ids))
  for at, id in ipairs(ids) do
    if (not spans or passes(spans[at])) and (not inside or inside[at]) then
      found[#found + 1] = id
      found[#found + 1] = scores[id]
      if #found >= 2 * asked.limit then return true end
    end
  end
  return false
end

-- What begins so is found by name, and put in order here.
if asked.begins then
  local bounds = {'[' .. asked.begins, '(' .. asked.begins .. '\255'}
  local ids = redis.call('ZRANGEBYLEX', prefix .. ':names', bounds[1], bounds[2], 'LIMIT', 0, FEW)
  local scores = #ids > 0 and redis.call('ZMSCORE', order, unpack(ids)) or {}
  local places, ranked, found = {}, {}, {}
  for at, id in ipairs(ids) do places[at] = {id, scores[at]} end
  table.sort(places, function(a, b)
    local x, y = tonumber(a[2]), tonumber(b[2])
    return x > y or (x == y and is_before(b[1], a[1]))
  end)
  for at, place in ipairs(places) do ranked[2 * at - 1], ranked[2 * at] = place[1], place[2] end
  take(found, ranked, {})
  return {found}
end

-- The sets that hold all that can pass, if those are few; else what is in order is gone through.
local few, fewest
for _, sets in ipairs(asked.sets) do
  local size = 0
  for _, set in ipairs(sets) do size = size + redis.call('SCARD', prefix .. ':' .. set) end
  if size <= FEW and (not fewest or size < fewest) then few, fewest = sets, size end
end
if few then
  local answers, is_tested, weights = {}, {[few] = true}, {'WEIGHTS', 1, 0}
  local keys = {order, ''}
  for _, sets in ipairs(asked.sets) do
    if #sets == 1 and not is_tested[sets] then
      is_tested[sets] = true
      keys[#keys + 1] = prefix .. ':' .. sets[1]
      weights[#weights + 1] = 0
    end
  end
  for at, set in ipairs(few) do
    keys[2] = prefix .. ':' .. set
    local words = {'ZINTER', #keys}
    for _, more in ipairs({keys, weights, {'WITHSCORES'}}) do
      for _, word in ipairs(more) do words[#words + 1] = word end
    end
    local ranked = redis.call(unpack(words))
    local reversed, found = {}, {}
    for from = #ranked - 1, 1, -2 do
      reversed[#reversed + 1] = ranked[from]
      reversed[#reversed + 1] = ranked[from + 1]
    end
    take(found, reversed, is_tested)
    answers[at] = found
  end
  return answers
end

local found, start = {}, 0
if asked.after_name then
  local rank = redis.call('ZREVRANK', order, asked.after_name)
  local score = rank and tonumber(redis.call('ZSCORE', order, asked.after_name))
  if score == asked.after_score then
    start = rank + 1
  else
    start = redis.call('ZCOUNT', order, '(' .. string.format('%.17g', asked.after_score), '+inf')
  end
end
local ranked
repeat
  ranked = redis.call('ZREVRANGE', order, start, start + CHUNK - 1, 'WITHSCORES')
  start = start + CHUNK
until take(found, ranked, {})
return {found}
