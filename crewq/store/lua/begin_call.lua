-- begin_call: asks the journal before a call is made. A finished call is answered from it; a new one is written down.
-- args: run index attempt call kind name repeatable shared
--   call        "<kind>:<digest>:<ordinal>", what identifies the call within the task
--   repeatable  1: a call that was under way when its worker died may be made again
--   shared      what equal calls of all tasks of the run have in common; if one of them has shared its result, that is the
--               answer; empty: no other call's result will do
-- returns {"answer", JSON} it was made before, {"go", "0" or "1"} make it (1: a model is left alone for now), {"doubt"} it was under way and may have had its effect,
--         {"stop"} this attempt no longer owns the task, {"wait"} Redis has just come back: ask again in a moment

local journal = run_key(run) .. ':journal'
local field = text(index) .. ':' .. call
local known = redis.call('HGET', journal, field)
local function note(kind_of_event, ...)
  event(run, kind_of_event, 'task', text(index), 'kind', kind, 'name', name, 'attempt', attempt, 'call', call, ...)
end

if known and string.sub(known, 1, 9) == 'finished ' then
  note('call_finished', 'reused', '1')
  return {'answer', string.sub(known, 10)}
end
if not owns(run, index, attempt) then return {'stop'} end
if healing() then return {'wait'} end
local found = not known and shared ~= '' and redis.call('HGET', journal, 'shared:' .. shared)
if found then
  redis.call('HSET', journal, field, 'finished ' .. found)
  note('call_finished', 'reused', '1')
  return {'answer', found}
end
if known and string.sub(known, 1, 8) == 'started ' and known ~= 'started ' .. attempt then
  if repeatable ~= '1' then return {'doubt'} end
  redis.call('HINCRBY', task_key(run, index), 'repeated', 1)
  count(1, 'recoveries', 'call')
end
redis.call('HSET', journal, field, 'started ' .. attempt)
if not known then keep(journal, CONFIG.unfinished) end
note('call_started')
return {'go', text(redis.call('EXISTS', P .. 'slowed'))}
