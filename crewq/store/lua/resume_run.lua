-- resume_run: lets a run that is paused, failed or cancelled go on where it stopped, with its journal.
-- uses: _budgets
-- args: run decision spec stamp max_cost max_tokens
--   decision  about calls in doubt: retry, skip, or empty where there are none
--   spec      the digest of the crew to go on with, stored already; empty: that of the run
--   stamp     what proves that it is the run's, with keys
--   max_cost, max_tokens  its new budget, in dollars and tokens; empty: as it is
-- returns {"resumed", "run|index" to publish, ...}, {"undecided", the call in doubt, ...}, {"asked"} a person is to answer,
--         {"spent", "cost" | "tokens", how much} as much as the new budget is spent already,
--         {"live"}, {"completed"} or {"gone"}

local key = run_key(run)
local journal = key .. ':journal'
local from = redis.call('HGET', key, 'state')
if not from then return {'gone'} end
if from == 'completed' then return {'completed'} end
if from ~= 'paused' and from ~= 'failed' and from ~= 'cancelled' then return {'live'} end

local too_little = spent_already(key, max_cost, max_tokens)
if too_little then return too_little end

local tasks = tonumber(redis.call('HGET', key, 'tasks'))
local states = {}
local needs = {}
for index = 0, tasks - 1 do
  states[index] = redis.call('HGET', task_key(run, index), 'state')
  needs[index] = 0
end
for index = 0, tasks - 1 do
  if states[index] ~= 'completed' and states[index] ~= 'skipped' then
    for _, other in ipairs(split(redis.call('HGET', task_key(run, index), 'wakes'), ',')) do
      needs[tonumber(other)] = needs[tonumber(other)] + 1
    end
  end
end

local undecided = {}
for index = 0, tasks - 1 do
  if states[index] == 'paused' and redis.call('HEXISTS', task_key(run, index), 'asked') == 1 then return {'asked'} end
  local call = redis.call('HGET', task_key(run, index), 'paused_on')
  if call and decision == '' then undecided[#undecided + 1] = call end
end
if #undecided > 0 then return {'undecided', unpack(undecided)} end

-- What could not be used must be asked for again, else the task would fail over the same answer.
local UNUSABLE = {
  AnswerUnusable = {'model:'},
  OutputInvalid = {'model:'},
  GuardrailFailed = {'model:', 'tool:guardrail-'},
  FunctionBroken = {'tool:guardrail-'},
}

local function forget_unusable(index)
  for _, kind in ipairs(UNUSABLE[redis.call('HGET', task_key(run, index), 'error_kind') or ''] or {}) do
    local beginning = text(index) .. ':' .. kind
    for _, field in ipairs(redis.call('HKEYS', journal)) do
      if string.sub(field, 1, #beginning) == beginning then redis.call('HDEL', journal, field) end
    end
  end
end

local function settle_doubt(index)
  local call = redis.call('HGET', task_key(run, index), 'paused_on')
  if not call then return end
  if decision == 'retry' then redis.call('HDEL', journal, text(index) .. ':' .. call) end
  if decision == 'skip' then
    redis.call('HSET', journal, text(index) .. ':' .. call, 'finished The result of this call is not known; it was not made again.')
  end
end

local ready = {}
local back = 0
for index = 0, tasks - 1 do
  local state = states[index]
  if state == 'paused' or state == 'failed' or state == 'cancelled' then
    forget_unusable(index)
    settle_doubt(index)
    if state ~= 'paused' then back = back + 1 end
    move_task(run, index, needs[index] == 0 and 'queued' or 'waiting')
    redis.call('HDEL', task_key(run, index), 'error', 'error_kind', 'traceback', 'ended', 'paused_on', 'paused_for', 'asked', 'asked_at', 'draft')
    redis.call('HSET', task_key(run, index), 'needs', text(needs[index]), 'strikes', '0', 'tries', '0')
    if needs[index] == 0 then
      to_front(run, index)
      make_ready(run, index)
      ready[#ready + 1] = member(run, index)
    end
  end
end

raise(key, max_cost, max_tokens)
if spec ~= '' then redis.call('HSET', key, 'spec', spec, 'stamp', stamp) end
move_run(run, 'running')
redis.call('HDEL', key, 'error', 'failed_task', 'ended', 'deadline')
redis.call('HINCRBY', key, 'left', back)
redis.call('ZREM', P .. 'expires', 'run|' .. run)
redis.call('ZREM', P .. 'unsaid', run)
redis.call('ZREM', P .. 'renewals', run)
keep_run(run, CONFIG.unfinished)
event(run, 'run_resumed')
local batch = redis.call('HGET', key, 'batch')
if batch and batch ~= '' and from ~= 'paused' then reopen_batch(batch, from) end
return {'resumed', unpack(ready)}
