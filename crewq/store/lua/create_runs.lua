-- create_runs: accepts runs of one crew, with all their tasks and ids; opens them unless the batch holds them back.
-- args: document blobs
--   document  JSON: {crew, spec, spec_json, batch, held, parent, from_task, edited, deadline, schedule, trace, terms,
--             tasks: [{name, key, needs, wakes, context, lane}],
--             where terms is {tenant, priority, max_cost, max_tokens}, as text, and only what differs from the standard,
--             runs: [{id, stamp, inputs, item, key, fingerprint, task_ids, outputs: {index: output JSON},
--             kept: {index: {output, messages, ended}} as the parent has them}]}
--   blobs     the long ones of its texts
-- returns {run, ...} of the ids accepted; one whose key was used before is answered by "<its id>|<its fingerprint>".
--
-- A batch brings thousands of runs, so each is written with as few commands and tables as that takes, and what they share once.

local order = cjson.decode(document)
local answer = {}
local fresh = {} -- runs that were not there before
local ids = {} -- of these and their tasks, each behind the score that all have
local AT = text(NOW)
local LIFE = text(CONFIG.unfinished + NET) -- as `keep_run` has it; a new run has fewer keys
local MOST = 1000 -- arguments of one command: Lua's stack does not hold a list of any length

local function add(list, one, other)
  list[#list + 1] = one
  list[#list + 1] = other
end

local function with_values(fields)
  local list = {}
  for name, value in pairs(fields) do
    if value ~= '' then add(list, name, value) end
  end
  return list
end

local function in_parts(command, key, list)
  for first = 1, #list, MOST do redis.call(command, key, unpack(list, first, math.min(first + MOST - 1, #list))) end
end

-- The first run of all that are replays of it, or of each other; empty for a run that is none.
local function origin()
  if order.parent == '' then return '' end
  return redis.call('HGET', run_key(order.parent), 'origin') or order.parent
end

-- What is the same in each of the runs, and in each of their tasks at the same place.
local RUN = {state = 'queued', crew = order.crew, spec = order.spec, tasks = text(#order.tasks), created = AT,
  parent = order.parent, origin = origin(), from_task = order.from_task, edited = order.edited, schedule = order.schedule,
  trace = order.trace, deadline = order.deadline > 0 and text(NOW + order.deadline) or ''}
for field, value in pairs(order.terms) do RUN[field] = value end
local OF_RUN = with_values(RUN)
local OF_TASK = {}
for at, task in ipairs(order.tasks) do
  OF_TASK[at] = {'name', task.name, 'key', task.key, 'needs', text(task.needs), 'wakes', task.wakes, 'context', task.context,
    'lane', task.lane, 'attempt', '0', 'strikes', '0'}
end

local function take_over(run, key, kept)
  redis.call('HSET', key, 'kept', '1')
  for field, value in pairs(kept) do redis.call('HSET', key, field, hold(run_key(run.id), value, blobs)) end
end

-- A task whose output is given, or taken over from the parent, is done. Answers whether it is left to do.
local function write_task(run, at, task)
  local index = text(at - 1)
  local key = task_key(run.id, at - 1)
  local kept, output = run.kept[index], run.outputs[index]
  local state = (output or kept) and 'completed' or task.needs == 0 and 'queued' or 'waiting'
  redis.call('HSET', key, 'state', state, 'id', run.task_ids[at], unpack(OF_TASK[at]))
  if kept then take_over(run, key, kept) end
  if output then
    redis.call('HSET', key, 'output', hold(run_key(run.id), output, blobs), 'ended', AT, 'edited', '1')
  end
  redis.call('EXPIRE', key, LIFE)
  add(ids, '0', run.task_ids[at] .. '|task|' .. member(run.id, at - 1))
  return state ~= 'completed'
end

-- The parent knows its replays, for as long as it is kept itself.
local function note_replay(run)
  if order.parent == '' or redis.call('EXISTS', run_key(order.parent)) == 0 then return end
  local before = redis.call('HGET', run_key(order.parent), 'replays')
  redis.call('HSET', run_key(order.parent), 'replays', (before and before .. ',' or '') .. run)
end

local function write_run(run)
  local key = run_key(run.id)
  redis.call('HSET', key, 'batch', order.batch, 'item', text(run.item), unpack(OF_RUN))
  redis.call('HSET', key, 'inputs', hold(key, run.inputs, blobs)) -- which holds long texts only for a run that is there
  if run.key ~= '' then redis.call('HSET', key, 'kickoff', run.key) end
  if run.stamp ~= '' then redis.call('HSET', key, 'stamp', run.stamp) end
  local left = 0
  for at, task in ipairs(order.tasks) do
    if write_task(run, at, task) then left = left + 1 end
  end
  redis.call('HSET', key, 'left', text(left))
  event(run.id, 'run_queued', unpack(order.parent ~= '' and {'parent', order.parent} or {}))
  redis.call('EXPIRE', key, LIFE)
  redis.call('EXPIRE', key .. ':events', LIFE)
  if redis.call('HEXISTS', key, 'blobs') == 1 then keep_blobs(key, CONFIG.unfinished + NET) end
  note_replay(run.id)
  add(ids, '0', run.id .. '|run|' .. run.id .. '|')
end

-- The run that the key of this one names already, if it does.
local function write_key(run)
  if run.key == '' then return nil end
  local key = P .. 'kickoff:' .. run.key
  local before = redis.call('GET', key)
  if before and redis.call('EXISTS', run_key(split(before, '|')[1])) == 1 then return before end
  redis.call('SET', key, run.id .. '|' .. run.fingerprint, 'EX', CONFIG.unfinished)
  return nil
end

local function write_runs()
  for at, run in ipairs(order.runs) do
    local before = write_key(run)
    if not before and redis.call('EXISTS', run_key(run.id)) == 0 then
      write_run(run)
      fresh[#fresh + 1] = run.id
    end
    answer[at] = before or run.id
  end
end

-- Where they are found: by their ids, in the order of time, by their state, and when their time is over.
local function file_all()
  local by_time, by_end, ends = {}, {}, text(NOW + CONFIG.unfinished * 1000)
  for _, run in ipairs(fresh) do
    add(by_time, AT, run)
    add(by_end, ends, 'run|' .. run)
  end
  for name, scored in pairs({ids = ids, runs = by_time, ['runs:queued'] = by_time, expires = by_end}) do
    in_parts('ZADD', P .. name, scored)
    keep(P .. name, CONFIG.unfinished)
  end
  count(#fresh, 'runs_accepted')
end

local function join_batch()
  local key = P .. 'batch:' .. order.batch
  in_parts('RPUSH', key .. ':runs', fresh)
  if order.held then in_parts('RPUSH', key .. ':held', fresh) end
  if #fresh > 0 then
    redis.call('HINCRBY', key, 'total', #fresh)
    redis.call('HINCRBY', key, 'left', #fresh)
  end
  keep_batch(order.batch, CONFIG.unfinished)
end

-- A replay that was given all that it lacked has nothing to do.
local function end_if_done(run)
  if redis.call('HGET', run_key(run), 'left') ~= '0' then return end
  move_run(run, 'running')
  settle(run, {})
end

redis.call('SET', P .. 'spec:' .. order.spec, order.spec_json, 'EX', CONFIG.unfinished)
write_runs()
file_all()
if order.batch ~= '' then join_batch() end
for _, run in ipairs(order.held and {} or fresh) do
  release_run(run, {})
  end_if_done(run)
end
return answer
