-- restore_call: notes again that a call is under way, if Redis has lost it and the attempt still owns the task.
-- args: run index attempt call kind name
-- returns 1 if the call is noted now, else 0

if not owns(run, index, attempt) then return 0 end
local journal = run_key(run) .. ':journal'
local field = text(index) .. ':' .. call
local known = redis.call('HGET', journal, field)
if known and (known == 'started ' .. attempt or string.sub(known, 1, 9) == 'finished ') then return 1 end
redis.call('HSET', journal, field, 'started ' .. attempt)
if known == 'failed ' .. attempt then return 1 end

if known and string.sub(known, 1, 8) == 'started ' then
  redis.call('HINCRBY', task_key(run, index), 'repeated', 1)
  count(1, 'recoveries', 'call')
end
if not known then keep(journal, CONFIG.unfinished) end
event(run, 'call_started', 'task', text(index), 'kind', kind, 'name', name, 'attempt', attempt, 'call', call)
return 1
