-- restore_claim: makes a claim again that Redis has lost, if nobody else has claimed the task since. Redis may have lost too
-- that the attempt before it was over: then that one still seems to be at work.
-- args: run index attempt claim worker lease_ms
-- returns 1 if it was restored, else 0

local key = task_key(run, index)
local task = redis.call('HMGET', key, 'state', 'attempt')
if (task[1] ~= 'queued' and task[1] ~= 'running') or tonumber(task[2]) ~= tonumber(attempt) - 1 then return 0 end
if task[1] == 'running' then requeue(run, index, 'crashed', 0, true) end
unready(run, index)
take(run, index, claim, worker, lease_ms)
return 1
