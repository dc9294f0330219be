-- pause_task: sets a task aside until a person decides; the run is paused once nothing else of it is under way.
-- args: run index attempt reason call draft
--   call      what is to be decided, as the journal names it: a call in doubt, or a question about an answer
--   draft     JSON of the answer that a person is asked about; empty: a call is in doubt
-- returns {"recorded" | "refused"}

if not owns(run, index, attempt) then return {'refused'} end
move_task(run, index, 'paused')
release_lease(run, index)
local key = task_key(run, index)
redis.call('HDEL', key, 'owner')
redis.call('HINCRBY', key, 'strikes', -1)
redis.call('HSET', key, 'paused_for', reason)
if draft == '' then
  redis.call('HSET', key, 'paused_on', call)
else
  redis.call('HSET', key, 'asked', call, 'asked_at', text(NOW), 'draft', draft)
end
event(run, 'task_paused', 'task', text(index), 'attempt', attempt, 'reason', reason)
rest(run)
return {'recorded'}
