-- put_schedule: keeps a schedule, to be looked at at once. One that is replaced with its times as they were goes on as it was.
-- uses: _schedules
-- args: name document replace
--   document  JSON: {id, crew, spec, inputs, timing, terms}, all of them texts
--   replace   1: in the place of one of this name, if there is one
-- returns "kept", or "known": there is one of this name, and it was not to be replaced

local key = schedule_key(name)
local given = cjson.decode(document)
local kept = redis.call('HMGET', key, 'timing', 'id', 'last', 'created')
if kept[1] and replace ~= '1' then return 'known' end
if kept[1] ~= given.timing or not (kept[2] and kept[3] and kept[4]) then
  redis.call('DEL', key)
  redis.call('HSET', key, 'id', given.id, 'timing', given.timing, 'created', text(NOW), 'last', text(NOW))
end
redis.call('HSET', key, 'crew', given.crew, 'spec', given.spec, 'inputs', given.inputs, 'terms', given.terms)
redis.call('HDEL', key, 'problem')
look_at(name, text(NOW))
return 'kept'
