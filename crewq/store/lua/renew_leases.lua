-- renew_leases: a sign of life of one worker process for all that it works on.
-- args: lease_ms held
--   held      "run|index|attempt" of each task, with spaces between
-- returns the ones refused, "run|index|attempt|state": they are no longer this process's to work on

local refused = {}
for _, one in ipairs(split(held, ' ')) do
  local part = split(one, '|')
  if owns(part[1], part[2], part[3]) then
    redis.call('ZADD', P .. 'leases', text(NOW + tonumber(lease_ms)), member(part[1], part[2]))
  else
    refused[#refused + 1] = one .. '|' .. (redis.call('HGET', task_key(part[1], part[2]), 'state') or 'gone')
  end
end
return refused
