-- abandon_batch: forgets a batch that was not opened, and the runs that were accepted for it.
-- args: batch
-- returns 1, or 0 if it was opened and so is not forgotten

if redis.call('HEXISTS', P .. 'batch:' .. batch, 'opened') == 1 then return 0 end
for _, run in ipairs(redis.call('LRANGE', P .. 'batch:' .. batch .. ':runs', 0, -1)) do drop_run(run) end
drop_batch(batch)
return 1
