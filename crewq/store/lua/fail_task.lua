-- fail_task: a task failed for good; the run ends failed as soon as nothing of it is under way.
-- args: run index attempt kind problem traceback blobs
--   kind      the error's name
--   problem   the error's record, as JSON
--   traceback of code that broke, as the worker has it; empty: none
--   blobs     the long ones of its texts
-- returns {"recorded" | "refused", run state, "run|index" to publish, ...}

local ready = {}
local word = 'refused'
if owns(run, index, attempt) then
  redis.call('HSET', task_key(run, index), 'error_kind', kind)
  if traceback ~= '' then redis.call('HSET', task_key(run, index), 'traceback', hold(run_key(run), traceback, blobs)) end
  fail(run, index, hold(run_key(run), problem, blobs), ready)
  word = 'recorded'
end
return {word, redis.call('HGET', run_key(run), 'state') or 'gone', unpack(ready)}
