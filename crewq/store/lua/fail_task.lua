-- fail_task: a task failed for good; the run ends failed as soon as nothing of it is under way.
-- args: run index attempt problem traceback
--   problem   the error's record, as JSON
--   traceback of code that broke, as the worker has it; empty: none
-- returns {"recorded" | "refused", run state, "run|index" to publish, ...}

local ready = {}
local word = 'refused'
if owns(run, index, attempt) then
  if traceback ~= '' then redis.call('HSET', task_key(run, index), 'traceback', traceback) end
  fail(run, index, problem, ready)
  word = 'recorded'
end
return {word, redis.call('HGET', run_key(run), 'state') or 'gone', unpack(ready)}
