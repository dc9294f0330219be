-- fail_call: notes that a call ended without an answer, so that making it again is no repetition of what may be paid for.
-- uses: _budgets
-- args: run index attempt call kind name
-- returns {"noted"} or {"refused"}: the call is not under way in this attempt, or has been answered, or the attempt has lost
--         its task: whoever was away for so long saw a deadline pass, and not whether an answer had come

take_back_all(run, run .. '|' .. text(index) .. '|' .. attempt .. '|' .. call)
local journal = run_key(run) .. ':journal'
local field = text(index) .. ':' .. call
if redis.call('HGET', journal, field) ~= 'started ' .. attempt or not owns(run, index, attempt) then return {'refused'} end
redis.call('HSET', journal, field, 'failed ' .. attempt)
count_call(kind, name, 'failed')
return {'noted'}
