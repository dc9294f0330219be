-- pause_task: sets a task aside until a person decides; the run is paused once nothing else of it is under way.
-- args: run index attempt reason call draft budget blobs
--   call      what is to be decided, as the journal names it: a call in doubt, or a question about an answer; empty: nothing
--   draft     JSON of the answer that a person is asked about; empty: a call is in doubt
--   budget    which one is spent: run, batch or tenant (that of a day: the run goes on by itself on the next one); else empty
--   blobs     of the draft, if it is long
-- returns {"recorded" | "refused"}

if not owns(run, index, attempt) then return {'refused'} end
move_task(run, index, 'paused')
release_lease(run, index)
local key = task_key(run, index)
redis.call('HDEL', key, 'owner')
redis.call('HINCRBY', key, 'strikes', -1)
redis.call('HSET', key, 'paused_for', reason)
if draft == '' and call ~= '' then
  redis.call('HSET', key, 'paused_on', call)
elseif draft ~= '' then
  redis.call('HSET', key, 'asked', call, 'asked_at', text(NOW), 'draft', hold(run_key(run), draft, blobs))
end
if budget == 'tenant' then
  redis.call('ZADD', P .. 'renewals', text((math.floor(NOW / 86400000) + 1) * 86400000), run)
  keep(P .. 'renewals', CONFIG.unfinished)
end
local batch = redis.call('HGET', run_key(run), 'batch')
if budget == 'batch' and redis.call('EXISTS', P .. 'batch:' .. batch) == 1 then
  redis.call('HSET', P .. 'batch:' .. batch, 'paused_for', reason)
end
event(run, 'task_paused', 'task', text(index), 'attempt', attempt, 'reason', reason)
rest(run)
return {'recorded'}
