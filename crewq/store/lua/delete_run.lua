-- delete_run: forgets a run that has ended, and everything that was kept of it.
-- args: run
-- returns {"deleted"}, {"live"} it has not ended, or {"gone"}

local state = redis.call('HGET', run_key(run), 'state')
if not state then return {'gone'} end
if state ~= 'completed' and state ~= 'failed' and state ~= 'cancelled' then return {'live'} end
drop_run(run)
return {'deleted'}
