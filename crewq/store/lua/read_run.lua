-- read_run: a run and its tasks at one moment.
-- args: run
-- returns {{field, value, ...} of the run, {field, value, ...} of each task}, or {} if there is none

local about = redis.call('HGETALL', run_key(run))
if #about == 0 then return {} end
local answer = {about}
for index = 0, tonumber(redis.call('HGET', run_key(run), 'tasks')) - 1 do
  answer[#answer + 1] = redis.call('HGETALL', task_key(run, index))
end
return answer
