-- Stands before the prelude: what the runs of a crew put out, for its later ones. The outputs stay with their tasks; of the crews
-- of each tenant, those that ended last are known, in that order. The keys of runs are told whole, and tasks as members of sets.

local function memory_of(run)
  local about = redis.call('HMGET', run, 'tenant', 'crew')
  return KEYS[1] .. 'memory:' .. (about[1] or 'default') .. ':' .. (about[2] or '')
end

local function remember(run, task, ended)
  local key = memory_of(run)
  redis.call('ZADD', key, ended, task)
  redis.call('ZREMRANGEBYRANK', key, 0, string.format('%.0f', -CONFIG.remembered - 1))
  redis.call('EXPIRE', key, CONFIG.unfinished)
end

local function forget(run, task) redis.call('ZREM', memory_of(run), task) end
