-- complete_task: records a task's output once, wakes what stood on it, and ends the run after the last one.
-- args: run index attempt state output messages blobs
--   attempt   the fence: only the latest claim may record
--   state     completed or skipped
--   blobs     the long ones of its texts
-- returns {"recorded" | "again" | "refused", run state, "run|index" to publish, ...}

local key = task_key(run, index)
local ready = {}

local function answer(word)
  return {word, redis.call('HGET', run_key(run), 'state') or 'gone', unpack(ready)}
end

if not owns(run, index, attempt) then
  local task = redis.call('HMGET', key, 'state', 'attempt')
  local mine = task[2] == attempt and (task[1] == 'completed' or task[1] == 'skipped')
  return answer(mine and 'again' or 'refused')
end

redis.call('HSET', key, 'output', hold(run_key(run), output, blobs), 'messages', hold(run_key(run), messages, blobs))
end_task(run, index, state)
if state == 'completed' then remember(run_key(run), member(run, index), text(NOW)) end
event(run, 'task_' .. state, 'task', text(index), 'attempt', attempt)
if not redis.call('HGET', run_key(run), 'error') then wake(run, index, ready) end
settle(run, ready)
return answer('recorded')
