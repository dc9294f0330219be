-- create_runs: accepts runs of one crew, with all their tasks and ids; opens them unless the batch holds them back.
-- args: document blobs
--   document  JSON: {crew, spec, spec_json, batch, held, parent, from_task, edited, deadline, schedule, trace, terms,
--             tasks: [{name, key, needs, wakes, context, lane}],
--             where terms is {tenant, priority, max_cost, max_tokens}, as text, and only what differs from the standard,
--             runs: [{id, stamp, inputs, item, key, fingerprint, task_ids, outputs: {index: output JSON},
--             kept: {index: {output, messages, ended}} as the parent has them}]}
--   blobs     the long ones of its texts
-- returns {run, ...} of the ids accepted; one whose key was used before is answered by "<its id>|<its fingerprint>".

local order = cjson.decode(document)
local answer = {}

local function write_task(run, index, task, output, kept)
  local key = task_key(run.id, index)
  local state = (output or kept) and 'completed' or (task.needs == 0 and 'queued' or 'waiting')
  redis.call('HSET', key, 'state', state, 'id', run.task_ids[index + 1], 'name', task.name, 'key', task.key,
    'needs', text(task.needs), 'wakes', task.wakes, 'context', task.context, 'lane', task.lane, 'attempt', '0', 'strikes', '0')
  if kept then
    for field, value in pairs(kept) do redis.call('HSET', key, field, hold(run_key(run.id), value, blobs)) end
    redis.call('HSET', key, 'kept', '1')
  end
  if output then redis.call('HSET', key, 'output', hold(run_key(run.id), output, blobs), 'ended', text(NOW), 'edited', '1') end
  redis.call('ZADD', P .. 'ids', 0, run.task_ids[index + 1] .. '|task|' .. member(run.id, index))
  return state
end

-- The first run of all that are replays of it, or of each other; empty for a run that is none.
local function origin()
  if order.parent == '' then return '' end
  return redis.call('HGET', run_key(order.parent), 'origin') or order.parent
end

-- The parent knows its replays, for as long as it is kept itself.
local function note_replay(run)
  if order.parent == '' or redis.call('EXISTS', run_key(order.parent)) == 0 then return end
  local known = redis.call('HGET', run_key(order.parent), 'replays')
  redis.call('HSET', run_key(order.parent), 'replays', (known and known .. ',' or '') .. run)
end

local function write_run(run)
  local key = run_key(run.id)
  local left = 0
  redis.call('HSET', key, 'state', 'queued', 'crew', order.crew, 'spec', order.spec, 'tasks', text(#order.tasks),
    'created', text(NOW), 'batch', order.batch, 'item', text(run.item))
  redis.call('HSET', key, 'inputs', hold(key, run.inputs, blobs))
  for field, value in pairs({kickoff = run.key, parent = order.parent, origin = origin(), from_task = order.from_task, edited = order.edited,
      schedule = order.schedule, trace = order.trace, stamp = run.stamp, deadline = order.deadline > 0 and text(NOW + order.deadline) or ''}) do
    if value ~= '' then redis.call('HSET', key, field, value) end
  end
  for field, value in pairs(order.terms) do redis.call('HSET', key, field, value) end
  for index, task in ipairs(order.tasks) do
    local state = write_task(run, index - 1, task, run.outputs[text(index - 1)], run.kept[text(index - 1)])
    if state ~= 'completed' then left = left + 1 end
  end
  redis.call('HSET', key, 'left', text(left))
  event(run.id, 'run_queued', unpack(order.parent ~= '' and {'parent', order.parent} or {}))
  keep_run(run.id, CONFIG.unfinished)
  redis.call('ZADD', P .. 'ids', 0, run.id .. '|run|' .. run.id .. '|')
  redis.call('ZADD', P .. 'runs', text(NOW), run.id)
  file_run(run.id, nil, 'queued')
  note_replay(run.id)
end

-- A replay that was given all that it lacked has nothing to do.
local function end_if_done(run)
  if redis.call('HGET', run_key(run), 'left') ~= '0' then return end
  move_run(run, 'running')
  settle(run, {})
end

local function write_key(run)
  if run.key == '' then return nil end
  local key = P .. 'kickoff:' .. run.key
  local known = redis.call('GET', key)
  if known and redis.call('EXISTS', run_key(split(known, '|')[1])) == 1 then return known end
  redis.call('SET', key, run.id .. '|' .. run.fingerprint, 'EX', CONFIG.unfinished)
  return nil
end

redis.call('SET', P .. 'spec:' .. order.spec, order.spec_json, 'EX', CONFIG.unfinished)
for _, run in ipairs(order.runs) do
  local known = write_key(run)
  if known then
    answer[#answer + 1] = known
  else
    if redis.call('EXISTS', run_key(run.id)) == 0 then
      write_run(run)
      if order.batch ~= '' then
        redis.call('RPUSH', P .. 'batch:' .. order.batch .. ':runs', run.id)
        redis.call('HINCRBY', P .. 'batch:' .. order.batch, 'total', 1)
        redis.call('HINCRBY', P .. 'batch:' .. order.batch, 'left', 1)
      end
      if order.held then
        redis.call('RPUSH', P .. 'batch:' .. order.batch .. ':held', run.id)
      else
        release_run(run.id, {})
      end
      end_if_done(run.id)
    end
    answer[#answer + 1] = run.id
  end
end
keep(P .. 'ids', CONFIG.unfinished)
keep(P .. 'runs', CONFIG.unfinished)
if order.batch ~= '' then keep_batch(order.batch, CONFIG.unfinished) end
return answer
