-- requeue_task: gives a task back: to be tried again after `delay_ms`, or handed over by a worker that stops.
-- args: run index attempt reason word delay_ms counts
--   reason    as its event tells it
--   word      as it is told beside other attempts, should the last one lose its worker
--   counts    1: counts towards the agent's max_retry_limit; 0: does not
-- returns {"recorded" | "refused"}

if not owns(run, index, attempt) then return {'refused'} end
if counts == '1' then
  redis.call('HINCRBY', task_key(run, index), 'tries', 1)
  count(1, 'task_retries')
end
last_words(run, index, word)
set_back(run, index, reason, tonumber(delay_ms), false)
return {'recorded'}
