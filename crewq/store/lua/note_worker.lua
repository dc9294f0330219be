-- note_worker: a sign of life of a worker, or its farewell.
-- args: worker about
--   about     JSON of what it can do; empty: it leaves
-- returns 1

local key = P .. 'workers'
if about == '' then
  redis.call('ZREM', key, worker)
  redis.call('HDEL', key .. ':about', worker)
else
  redis.call('ZADD', key, text(NOW), worker)
  redis.call('HSET', key .. ':about', worker, about)
end
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', text(NOW - 60000))) do
  redis.call('ZREM', key, silent)
  redis.call('HDEL', key .. ':about', silent)
end
keep(key, CONFIG.unfinished)
keep(key .. ':about', CONFIG.unfinished)

-- How many tasks they work on at once, all together, and what their settings say of tenants.
local slots = 0
for _, other in ipairs(redis.call('HVALS', key .. ':about')) do slots = slots + (cjson.decode(other).concurrency or 0) end
if slots > 0 then redis.call('SET', P .. 'slots', text(slots), 'EX', 60) else redis.call('DEL', P .. 'slots') end
if about ~= '' then
  redis.call('DEL', P .. 'weights')
  for tenant, weight in pairs(cjson.decode(about).weights or {}) do redis.call('HSET', P .. 'weights', tenant, tostring(weight)) end
  keep(P .. 'weights', CONFIG.unfinished)
end
return 1
