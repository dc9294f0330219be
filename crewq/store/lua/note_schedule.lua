-- note_schedule: a schedule was looked at. Of several who say so for one of its times, only the first is heard.
-- uses: _schedules
-- args: name known nominal following run problem
--   known     the id of the schedule that was looked at: it may have been replaced since
--   nominal   the time that was seen to; 0: it was not due
--   following when to look at it again
--   run       the run that was started; empty: none, because of
--   problem   what was wrong; empty: nothing
-- returns 1 for the first to see to that time, else 0

local key = schedule_key(name)
local kept = redis.call('HMGET', key, 'id', 'last')
if kept[1] ~= known then return 0 end
if tonumber(nominal) <= tonumber(kept[2]) then
  if nominal == '0' then look_at(name, following) end
  return 0
end
redis.call('HSET', key, 'last', nominal)
if run ~= '' then redis.call('HSET', key, 'run', run) end
if problem ~= '' then redis.call('HSET', key, 'problem', problem) else redis.call('HDEL', key, 'problem') end
look_at(name, following)
return 1
