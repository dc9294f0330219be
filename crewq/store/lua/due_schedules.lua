-- due_schedules: the schedules that are to be looked at by now. Any number of beats may ask.
-- uses: _schedules
-- args: limit
-- returns {now, the time at which the next one after these is to be looked at or "", {name, field, value, ...}, ...}

local index = P .. 'schedules'
local following = redis.call('ZRANGEBYSCORE', index, '(' .. text(NOW), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local answer = {text(NOW), following[2] and text(tonumber(following[2])) or ''}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', text(NOW), 'LIMIT', 0, limit)) do
  local fields = redis.pcall('HGETALL', schedule_key(name))
  if fields.err then fields = {'problem', fields.err} end -- not a hash: one that cannot be read is the caller's to tell of
  if #fields == 0 then
    redis.call('ZREM', index, name)
  else
    table.insert(fields, 1, name)
    answer[#answer + 1] = fields
  end
end
return answer
