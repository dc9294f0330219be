-- answer_person: writes down what a person says of a task's answer; the task goes back to the workers, which hear it.
-- args: run index call answer blobs
--   call      the question, as the journal names it: only the one that is open is answered
--   blobs     of the answer, if it is long
-- returns {"answered", "run|index" to publish}, {"stale"} it is not asked (any more), or {"gone"} there is no such run

local key = task_key(run, index)
local about = redis.call('HMGET', key, 'state', 'asked', 'asked_at')
if not about[1] then return {'gone'} end
if about[1] ~= 'paused' or about[2] ~= call then return {'stale'} end

local journal = run_key(run) .. ':journal'
redis.call('HSET', journal, text(index) .. ':' .. call, 'finished ' .. hold(run_key(run), answer, blobs))
keep(journal, redis.call('TTL', run_key(run)))
redis.call('HDEL', key, 'asked', 'asked_at', 'draft', 'paused_for')

if redis.call('HGET', run_key(run), 'state') == 'paused' then
  -- The time that a person takes is not the run's.
  local deadline = redis.call('HGET', run_key(run), 'deadline')
  if deadline then redis.call('HINCRBY', run_key(run), 'deadline', text(NOW - tonumber(about[3]))) end
  move_run(run, 'running')
  event(run, 'run_resumed')
end
requeue(run, index, 'answered by a person', 0, true)
return {'answered', member(run, index)}
