-- finish_call: writes an answer down. The first one wins, and a stale attempt's answer counts: it was paid for.
-- args: run index attempt call kind name answer usage seconds
--   usage     JSON of the tokens and the cost, added to the task's and the run's; empty for a tool
-- returns {"recorded"}, {"answer", JSON} an earlier answer that stands, or {"gone"} the run was deleted

local key = run_key(run)
local field = text(index) .. ':' .. call
if redis.call('EXISTS', key) == 0 then return {'gone'} end
local known = redis.call('HGET', key .. ':journal', field)
if known and string.sub(known, 1, 9) == 'finished ' then return {'answer', string.sub(known, 10)} end

redis.call('HSET', key .. ':journal', field, 'finished ' .. answer)
local left = redis.call('TTL', key)
if left > 0 then keep(key .. ':journal', left) end
if usage ~= '' then
  for name_of, amount in pairs(cjson.decode(usage)) do
    if amount ~= 0 then
      redis.call('HINCRBYFLOAT', key, 'usage.' .. name_of, tostring(amount))
      redis.call('HINCRBYFLOAT', task_key(run, index), 'usage.' .. name_of, tostring(amount))
    end
  end
end
event(run, 'call_finished', 'task', text(index), 'kind', kind, 'name', name, 'attempt', attempt, 'call', call,
  'seconds', seconds, unpack(usage ~= '' and {'usage', usage} or {}))

-- A call in doubt that turns out to have ended after all leaves nothing to decide.
local task = redis.call('HMGET', task_key(run, index), 'state', 'paused_on')
if task[1] == 'paused' and task[2] == call then
  redis.call('HDEL', task_key(run, index), 'paused_on', 'paused_for')
  if redis.call('HGET', key, 'state') == 'paused' then
    move_run(run, 'running')
    event(run, 'run_resumed')
  end
  requeue(run, index, 'the call in doubt had ended', 0, true)
end
return {'recorded'}
