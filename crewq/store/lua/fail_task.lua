-- fail_task: a task failed for good; the run ends failed as soon as nothing of it is under way.
-- args: run index attempt problem
--   problem   the error's record, as JSON
-- returns {"recorded" | "refused", run state, "run|index" to publish, ...}

local ready = {}
local word = 'refused'
if owns(run, index, attempt) then
  fail(run, index, problem, ready)
  word = 'recorded'
end
return {word, redis.call('HGET', run_key(run), 'state') or 'gone', unpack(ready)}
