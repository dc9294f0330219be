-- share_result: lets equal calls of all tasks of a run have the result of one. The first result stands.
-- args: run shared result blobs
--   shared  what those calls have in common
--   blobs   of the result, if it is long
-- returns 1 if it stands, 0 if an earlier one does or the run is gone

local journal = run_key(run) .. ':journal'
if redis.call('EXISTS', journal) == 0 then return 0 end
return redis.call('HSETNX', journal, 'shared:' .. shared, hold(run_key(run), result, blobs))
