#!lua
-- KEYS: outbox, delivery prefix                          ARGV: id, claim, lease end
local key = KEYS[2] .. ARGV[1]
local row = redis.call('HMGET', key, 'claim', 'leased')
if row[1] ~= ARGV[2] or tonumber(row[2] or '0') == 0 then return 0 end
redis.call('HSET', key, 'due', ARGV[3], 'leased', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
