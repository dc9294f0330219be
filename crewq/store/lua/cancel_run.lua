-- cancel_run: ends a run now. Work under way loses its lease at once; the worker learns of it at its next renewal.
-- args: run
-- returns {"cancelled" | "ended" | "gone", "run|index" to publish, ...}

local state = redis.call('HGET', run_key(run), 'state')
local ready = {}
if not state then return {'gone'} end
if state == 'completed' or state == 'failed' or state == 'cancelled' then return {'ended'} end
for index = 0, tonumber(redis.call('HGET', run_key(run), 'tasks')) - 1 do
  local task = redis.call('HGET', task_key(run, index), 'state')
  if task ~= 'completed' and task ~= 'skipped' and task ~= 'failed' and task ~= 'cancelled' then
    end_task(run, index, 'cancelled')
  end
end
close_run(run, 'cancelled', ready)
return {'cancelled', unpack(ready)}
