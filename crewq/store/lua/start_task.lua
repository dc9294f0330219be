-- start_task: claims a task for one worker, or says why not. Asked again by the same claim, it answers the same.
-- args: run index claim worker lease_ms alone_from
--   claim      a token of this one execution of the job
--   alone_from after how many attempts that lost their worker it is to be taken by a worker that does nothing else; 0: never
-- returns {"yours", attempt, spec, inputs, created, deadline, now, tries, tenant, "1" if the run or its batch has a budget,
--         "run|index ..." to publish, as there is room for them now, trace, stamp, position, output, ...} (the context's), or
--         {"done"} it has ended well, {"busy"} another has it, {"early"} it is not its turn, {"stop"} it must not run,
--         {"gone"} there is no such run, {"wait"} Redis has just come back: ask again in a moment,
--         {"alone"} it may be what killed its workers: take it where it can harm no other task

local key = task_key(run, index)
local task = redis.call('HMGET', key, 'state', 'claim', 'attempt', 'lane', 'context', 'tries', 'strikes')
local about = redis.call('HMGET', run_key(run), 'state', 'spec', 'inputs', 'created', 'deadline', 'tenant', 'batch',
  'max_cost', 'max_tokens', 'trace', 'stamp')
local state = task[1]

local function has_budget()
  if about[8] or about[9] then return true end
  local of_batch = about[7] and about[7] ~= '' and redis.call('HMGET', P .. 'batch:' .. about[7], 'max_cost', 'max_tokens')
  return of_batch and (of_batch[1] or of_batch[2])
end

local function claimed(attempt, ready)
  local answer = {'yours', attempt, about[2], about[3], about[4], about[5] or '', text(NOW), task[6] or '0',
    about[6] or 'default', has_budget() and '1' or '0', table.concat(ready, ' '), about[10] or '', about[11] or ''}
  for _, other in ipairs(split(task[5], ',')) do
    answer[#answer + 1] = other
    answer[#answer + 1] = redis.call('HGET', task_key(run, other), 'output') or ''
  end
  return answer
end

if not state or not about[1] then return {'gone'} end
if state == 'completed' or state == 'skipped' then return {'done'} end
if state == 'running' and task[2] == claim then return claimed(task[3], {}) end
if state == 'running' then return {'busy'} end
if state ~= 'queued' and state ~= 'waiting' then return {'stop'} end
if about[1] ~= 'queued' and about[1] ~= 'running' then return {'stop'} end
if healing() then return {'wait'} end
if state == 'waiting' or redis.call('ZSCORE', P .. 'due', member(run, index)) then return {'early'} end

-- What was sent before this message has been delivered too, or was lost: the sweeper goes by this mark.
local sent = redis.call('ZSCORE', P .. 'ready:' .. task[4], member(run, index))
note_delivery(task[4], sent)

if tonumber(alone_from) > 0 and tonumber(task[7]) >= tonumber(alone_from) then return {'alone'} end
unready(run, index)
if sent then observe(NOW - tonumber(sent), 'task_wait_seconds') end
local ready = {}
lines.fill(string.gsub(task[4], '/%d+$', ''), ready)
return claimed(take(run, index, claim, worker, lease_ms), ready)
