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
return 1
