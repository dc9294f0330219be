-- finish_call: writes an answer down. The first one wins, and a stale attempt's answer counts: it was paid for.
-- uses: _budgets
-- args: run index attempt call kind name answer failed usage seconds blobs
--   failed    1: the answer is what a tool that raised had to say
--   usage     JSON of the tokens and the cost, added to the task's, the run's, the batch's and the day's; empty for a tool
--             whose code asked no model
--   blobs     of the answer, if it is long
-- returns {"recorded"}, {"answer", JSON} an earlier answer that stands, or {"gone"} the run was deleted

local key = run_key(run)
local field = text(index) .. ':' .. call
if redis.call('EXISTS', key) == 0 then return {'gone'} end
local held = take_back_all(run, run .. '|' .. text(index) .. '|' .. attempt .. '|' .. call)
local known = redis.call('HGET', key .. ':journal', field)
if known and string.sub(known, 1, 9) == 'finished ' then return {'answer', string.sub(known, 10)} end

redis.call('HSET', key .. ':journal', field, 'finished ' .. hold(key, answer, blobs))
local left = redis.call('TTL', key)
if left > 0 then keep(key .. ':journal', left) end

-- Where an answer does not say what it cost or used, a budget counts what was thought.
local function add_up(used)
  local about = redis.call('HMGET', key, 'batch', 'tenant', 'crew')
  local sums = {key}
  if about[1] and about[1] ~= '' then sums[2] = P .. 'batch:' .. about[1] end
  local tokens = used.total_tokens or 0
  local presumed_cost = held and (used.unpriced_requests or 0) > 0 and tonumber(held[1]) or 0
  local presumed_tokens = held and tokens == 0 and tonumber(held[2]) or 0
  for name_of, amount in pairs(used) do
    if amount ~= 0 then
      redis.call('HINCRBYFLOAT', task_key(run, index), 'usage.' .. name_of, tostring(amount))
      for _, sum in ipairs(sums) do redis.call('HINCRBYFLOAT', sum, 'usage.' .. name_of, tostring(amount)) end
    end
  end
  for _, sum in ipairs(presumed_cost + presumed_tokens > 0 and sums or {}) do
    redis.call('HINCRBY', sum, 'presumed.cost', text(presumed_cost))
    redis.call('HINCRBY', sum, 'presumed.tokens', text(presumed_tokens))
  end
  local label_of = kind == 'model' and name or 'tool ' .. name
  local asked = kind == 'model' and 1 or used.successful_requests or 0
  count_costs(about[2] or 'default', about[3], label_of, {asked, used.prompt_tokens or 0, used.completion_tokens or 0, tokens,
    nano(used.cost), used.unpriced_requests or 0, presumed_cost, presumed_tokens})
end

local function meter(used)
  count_call(kind, name, failed == '1' and 'failed' or 'answered')
  if kind ~= 'model' then return end
  local model = label(name)
  observe(tonumber(seconds) * 1000, 'model_call_seconds', model)
  count(used.prompt_tokens or 0, 'tokens', model, 'prompt')
  count(used.completion_tokens or 0, 'tokens', model, 'completion')
  count(nano(used.cost), 'cost_dollars', model)
  count(used.unpriced_requests or 0, 'unpriced_calls', model)
end

local used = usage ~= '' and cjson.decode(usage) or {}
if usage ~= '' then add_up(used) end
meter(used)
event(run, 'call_finished', 'task', text(index), 'kind', kind, 'name', name, 'attempt', attempt, 'call', call,
  'seconds', seconds, unpack(usage ~= '' and {'usage', usage} or {}))

-- A call in doubt that turns out to have ended after all leaves nothing to decide.
local task = redis.call('HMGET', task_key(run, index), 'state', 'paused_on')
if task[1] == 'paused' and task[2] == call then
  redis.call('HDEL', task_key(run, index), 'paused_on', 'paused_for')
  if redis.call('HGET', key, 'state') == 'paused' then
    move_run(run, 'running')
    event(run, 'run_resumed')
  end
  requeue(run, index, 'the call in doubt had ended', 0, true)
end
return {'recorded'}
