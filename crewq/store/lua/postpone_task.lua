-- postpone_task: gives a task back whose next call has to wait for a limit: somebody else may use the worker meanwhile.
-- uses: _limits
-- args: run index attempt reason delay_ms scope slots
--   delay_ms  when it is taken up again, or at the deadline of its run if that is sooner
--   scope     a limit, one of whose slots it waits for: it is taken up as soon as one is free; else empty
--   slots     how many that limit has
-- returns {"recorded" | "refused"}

if not owns(run, index, attempt) then return {'refused'} end
local delay = tonumber(delay_ms)
local deadline = tonumber(redis.call('HGET', run_key(run), 'deadline') or '')
if deadline then delay = math.max(1, math.min(delay, deadline - NOW)) end
-- One may have become free since the call was told that there is none: nobody else would wake this task for it.
if scope ~= '' and redis.call('ZCARD', limit_key(scope, 'slots')) < tonumber(slots) then delay = 1 end
set_back(run, index, reason, delay, false)
if scope ~= '' then
  redis.call('SADD', limit_key(scope, 'parked'), member(run, index))
  keep(limit_key(scope, 'parked'), NET)
  redis.call('HSET', P .. 'parked', scope, slots)
  keep(P .. 'parked', NET)
end
return {'recorded'}
