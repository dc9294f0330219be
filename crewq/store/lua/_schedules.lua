-- What the verbs about schedules have in common.

local function schedule_key(name) return P .. 'schedule:' .. name end

-- A schedule is to be looked at next at that time. It lives on long after, so only one that no beat came for goes by itself.
local function look_at(name, at)
  local index = P .. 'schedules'
  local seconds = CONFIG.unfinished + math.max(0, math.ceil((tonumber(at) - NOW) / 1000))
  redis.call('ZADD', index, at, name)
  if redis.call('TTL', index) < seconds then keep(index, seconds) end
  keep(schedule_key(name), seconds)
end
