-- Stands before every verb. KEYS[1] is the prefix of all keys, ARGV[1] the time in ms (empty: Redis's own clock).
-- The loader fills in CONFIG (numbers), LAWFUL_RUN and LAWFUL_TASK (the tables of states.py) and the verb's arguments.

local P = KEYS[1]
local unpack = unpack or table.unpack
local lines = {} -- the line of those that are held back: see _lines.lua, which follows

local function now()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = now()

local function text(number) return string.format('%.0f', number) end

local function run_key(run) return P .. 'run:' .. run end
local function task_key(run, index) return P .. 'run:' .. run .. ':task:' .. text(index) end
local function member(run, index) return run .. '|' .. text(index) end

local function split(list, mark)
  local parts = {}
  for part in string.gmatch(list or '', '[^' .. mark .. ']+') do parts[#parts + 1] = part end
  return parts
end

local function move(lawful, key, to)
  local from = redis.call('HGET', key, 'state')
  if not from or not lawful[from .. '>' .. to] then
    error('crewq: unlawful move of ' .. key .. ' from ' .. tostring(from) .. ' to ' .. to)
  end
  redis.call('HSET', key, 'state', to)
  return from
end

-- What somebody else wrote there must not keep a run from ending, and its sweepers from going on with others.
local function created_of(run)
  local at = tonumber(redis.call('HGET', run_key(run), 'created') or '')
  return at and at >= 0 and at <= NOW and at or NOW
end

-- Runs by their state, in the order in which they were created, for whoever looks for those in one state.
local function file_run(run, from, to)
  redis.call('ZREM', P .. 'runs:' .. from, run)
  redis.call('ZADD', P .. 'runs:' .. to, text(created_of(run)), run)
  redis.call('EXPIRE', P .. 'runs:' .. to, CONFIG.unfinished)
end

local function move_run(run, to)
  local from = move(LAWFUL_RUN, run_key(run), to)
  file_run(run, from, to)
  return from
end

local function move_task(run, index, to) return move(LAWFUL_TASK, task_key(run, index), to) end

local function event(run, kind, ...)
  redis.call('XADD', run_key(run) .. ':events', 'MAXLEN', '~', CONFIG.events_kept, '*', 'type', kind, ...)
end

local function keep(key, seconds) redis.call('EXPIRE', key, text(seconds)) end

-- A run or a batch is dropped as a unit by a sweep when its time is over. The keys' own TTL is the net below that.
local NET = 3600
local function expire(kind, id, seconds)
  redis.call('ZADD', P .. 'expires', text(NOW + seconds * 1000), kind .. '|' .. id)
  keep(P .. 'expires', CONFIG.unfinished)
end

local function keep_run(run, seconds)
  local key = run_key(run)
  expire('run', run, seconds)
  keep(key, seconds + NET)
  keep(key .. ':journal', seconds + NET)
  keep(key .. ':events', seconds + NET)
  keep(key .. ':reserved', seconds + NET)
  local about = redis.call('HMGET', key, 'tasks', 'blobs')
  if about[2] then keep_blobs(key, seconds + NET) end
  for index = 0, tonumber(about[1]) - 1 do keep(task_key(run, index), seconds + NET) end
end

-- The one who gives a task to the workers: it stands in its lane until a worker claims it, and whoever calls this
-- publishes its message. Should that be lost, the watermark of the lane passes it by, and the sweeper sends another.
local function make_ready(run, index)
  local lane = redis.call('HGET', task_key(run, index), 'lane')
  redis.call('ZADD', P .. 'ready:' .. lane, text(NOW), member(run, index))
  keep(P .. 'ready:' .. lane, CONFIG.unfinished)
  redis.call('SADD', P .. 'lanes', lane)
  keep(P .. 'lanes', CONFIG.unfinished)
end

-- What was begun, or was lost on the way, goes before what is new.
local function to_front(run, index)
  local lane = redis.call('HGET', task_key(run, index), 'lane')
  redis.call('HSET', task_key(run, index), 'lane', (string.gsub(lane, '/%d+$', '/0')))
end

local function unready(run, index)
  local lane = redis.call('HGET', task_key(run, index), 'lane')
  redis.call('ZREM', P .. 'ready:' .. lane, member(run, index))
  redis.call('ZREM', P .. 'due', member(run, index))
end

local function release_lease(run, index) redis.call('ZREM', P .. 'leases', member(run, index)) end

-- Opens the first tasks of a run that was held back; answers what to publish.
local function release_run(run, ready)
  for index = 0, tonumber(redis.call('HGET', run_key(run), 'tasks')) - 1 do
    local task = redis.call('HMGET', task_key(run, index), 'state', 'needs')
    if task[1] == 'queued' then
      make_ready(run, index)
      ready[#ready + 1] = member(run, index)
    end
  end
end

-- Takes back the idempotency key of a run or a batch: it would be answered by something new now anyway.
local function free_name(key, id)
  local name = redis.call('HGET', key, 'kickoff')
  if not name then return end
  if split(redis.call('GET', P .. 'kickoff:' .. name), '|')[1] == id then redis.call('DEL', P .. 'kickoff:' .. name) end
end

-- Forgets a run and everything that was kept of it.
local function drop_run(run)
  local key = run_key(run)
  local about = redis.call('HMGET', key, 'tasks', 'blobs')
  if about[2] then let_go_of_blobs(key) end
  for index = 0, tonumber(about[1] or '0') - 1 do
    local id = redis.call('HGET', task_key(run, index), 'id')
    if id then redis.call('ZREM', P .. 'ids', id .. '|task|' .. member(run, index)) end
    forget(key, member(run, index))
    redis.call('DEL', task_key(run, index))
  end
  redis.call('ZREM', P .. 'ids', run .. '|run|' .. run .. '|')
  redis.call('ZREM', P .. 'runs', run)
  redis.call('ZREM', P .. 'runs:' .. (redis.call('HGET', key, 'state') or ''), run)
  redis.call('ZREM', P .. 'unsaid', run)
  redis.call('ZREM', P .. 'expires', 'run|' .. run)
  free_name(key, run)
  redis.call('ZREM', P .. 'renewals', run)
  redis.call('DEL', key, key .. ':journal', key .. ':events', key .. ':reserved')
end

local function drop_batch(batch)
  local key = P .. 'batch:' .. batch
  redis.call('ZREM', P .. 'ids', batch .. '|batch|' .. batch .. '|')
  redis.call('ZREM', P .. 'batches', batch)
  redis.call('ZREM', P .. 'expires', 'batch|' .. batch)
  free_name(key, batch)
  redis.call('DEL', key, key .. ':runs', key .. ':held', key .. ':ended', key .. ':reserved')
end

-- Nobody asks a lane again for so long.
local function leave_alone(lane, ms) redis.call('SET', P .. 'probe:' .. lane, text(NOW + ms), 'PX', text(ms)) end

-- How far the workers have come in a lane; while it moves, nobody needs to ask.
local function note_delivery(lane, sent)
  if not sent then return end
  leave_alone(lane, CONFIG.probe_ms)
  redis.call('HDEL', P .. 'probed', lane)
  sent = tonumber(sent)
  if not (sent and sent <= NOW) then sent = NOW end -- a probe that somebody else wrote
  local mark = tonumber(redis.call('HGET', P .. 'watermark', lane) or '0') or 0
  if sent <= mark and mark <= NOW then return end
  redis.call('HSET', P .. 'watermark', lane, text(sent))
  keep(P .. 'watermark', CONFIG.unfinished)
end

local function announce(id)
  redis.call('XADD', P .. 'ended', 'MAXLEN', '~', CONFIG.ends_kept, '*', 'id', id)
  keep(P .. 'ended', CONFIG.unfinished)
end

-- In the same feed, so that who waits is told; a reader that knows of ends only finds none of this name.
local function announce_pause(run)
  local batch = redis.call('HGET', run_key(run), 'batch') or ''
  redis.call('XADD', P .. 'ended', 'MAXLEN', '~', CONFIG.ends_kept, '*', 'id', '', 'paused', run, 'batch', batch)
  keep(P .. 'ended', CONFIG.unfinished)
end

local function keep_batch(batch, seconds)
  for _, part in ipairs({'', ':runs', ':held', ':ended', ':reserved'}) do keep(P .. 'batch:' .. batch .. part, seconds + NET) end
  expire('batch', batch, seconds)
end

-- `left` counts one more than the runs until the batch is sealed, so that it can't end while it is being filled.
local function settle_batch(batch)
  local key = P .. 'batch:' .. batch
  if redis.call('HINCRBY', key, 'left', -1) > 0 then return keep_batch(batch, CONFIG.unfinished) end
  redis.call('HSET', key, 'ended', text(NOW))
  announce(batch)
  local failed = tonumber(redis.call('HGET', key, 'failed') or '0')
  local seconds = failed > 0 and CONFIG.keep_failed or CONFIG.keep_completed
  keep_batch(batch, seconds)
end

local function count_end(batch, run, item, state, ready)
  local key = P .. 'batch:' .. batch
  redis.call('HINCRBY', key, state, 1)
  redis.call('XADD', key .. ':ended', '*', 'item', item, 'run', run, 'state', state)
  -- A run that was still held back had no place among those under way, so its end makes room for none.
  local held = state == 'cancelled' and redis.call('LREM', key .. ':held', -1, run) == 1
  if held then lines.shorten(batch) else lines.widen(batch, 1, ready) end
  settle_batch(batch)
end

local function reopen_batch(batch, state)
  local key = P .. 'batch:' .. batch
  if redis.call('EXISTS', key) == 0 then return end
  redis.call('HINCRBY', key, state, -1)
  redis.call('HINCRBY', key, 'left', 1)
  redis.call('HDEL', key, 'ended')
  redis.call('ZREM', P .. 'expires', 'batch|' .. batch)
  keep_batch(batch, CONFIG.unfinished)
end

-- Ends a run: state, event, retention, batch counters, and the wake-up of who waits, in one step.
local function close_run(run, state, ready)
  local key = run_key(run)
  move_run(run, state)
  count(1, 'runs', state)
  if state ~= 'cancelled' then observe(NOW - created_of(run), 'run_seconds') end
  redis.call('HSET', key, 'ended', text(NOW))
  if state == 'failed' then
    event(run, 'run_failed', 'error', redis.call('HGET', key, 'error'))
  else
    event(run, 'run_' .. state)
  end
  announce(run)
  redis.call('ZADD', P .. 'unsaid', text(NOW), run)
  keep(P .. 'unsaid', CONFIG.unfinished)
  keep_run(run, CONFIG['keep_' .. state])
  keep(P .. 'spec:' .. redis.call('HGET', key, 'spec'), CONFIG.unfinished)
  local about = redis.call('HMGET', key, 'batch', 'item')
  if about[1] and about[1] ~= '' then count_end(about[1], run, about[2], state, ready) end
end

-- A run is paused once a person has to decide about a task of it, and no other task has anything to do.
local function rest(run)
  local paused
  for index = 0, tonumber(redis.call('HGET', run_key(run), 'tasks')) - 1 do
    local task = redis.call('HMGET', task_key(run, index), 'state', 'paused_for')
    if task[1] == 'running' or task[1] == 'queued' then return end
    if task[1] == 'paused' then paused = task[2] end
  end
  if paused then
    move_run(run, 'paused')
    event(run, 'run_paused', 'reason', paused)
    announce_pause(run)
  end
end

-- After a task has ended in whatever way: ends the run once none of its tasks has anything left to do.
local function settle(run, ready)
  local about = redis.call('HMGET', run_key(run), 'left', 'error')
  if tonumber(about[1]) > 0 then return rest(run) end
  close_run(run, about[2] and 'failed' or 'completed', ready)
end

local function end_task(run, index, state)
  local from = move_task(run, index, state)
  count(1, 'tasks', state)
  if from == 'running' and state ~= 'cancelled' then
    observe(NOW - tonumber(redis.call('HGET', task_key(run, index), 'started')), 'task_seconds')
  end
  redis.call('HSET', task_key(run, index), 'ended', text(NOW))
  redis.call('HDEL', task_key(run, index), 'owner')
  if from == 'running' then release_lease(run, index) end
  if from == 'queued' then unready(run, index) end
  redis.call('HINCRBY', run_key(run), 'left', -1)
end

-- Tells the tasks that stand on this one; answers those that nothing holds any more.
local function wake(run, index, ready)
  for _, other in ipairs(split(redis.call('HGET', task_key(run, index), 'wakes'), ',')) do
    if redis.call('HINCRBY', task_key(run, other), 'needs', -1) == 0
        and redis.call('HGET', task_key(run, other), 'state') == 'waiting' then
      move_task(run, other, 'queued')
      make_ready(run, other)
      ready[#ready + 1] = member(run, other)
    end
  end
end

-- A task failed for good. Tasks under way may end (their answers are paid for); those not begun are cancelled.
local function fail(run, index, problem, ready)
  local key = run_key(run)
  redis.call('HSET', task_key(run, index), 'error', problem)
  redis.call('HSETNX', key, 'error', problem)
  redis.call('HSETNX', key, 'failed_task', text(index))
  local attempt = redis.call('HGET', task_key(run, index), 'attempt')
  end_task(run, index, 'failed')
  event(run, 'task_failed', 'task', text(index), 'attempt', attempt, 'error', problem)
  for other = 0, tonumber(redis.call('HGET', key, 'tasks')) - 1 do
    local state = redis.call('HGET', task_key(run, other), 'state')
    if state == 'waiting' or state == 'queued' or state == 'paused' then end_task(run, other, 'cancelled') end
  end
  settle(run, ready)
end

-- Whether Redis has come back a moment ago and may have lost its last second. Then all workers first do again what they
-- did last, and nothing new begins: else what is already paid for could be paid for again.
local function healing()
  local about = redis.pcall('INFO', 'server')
  local boot = type(about) == 'string' and string.match(about, 'run_id:(%x+)')
  if boot and boot ~= redis.call('GET', P .. 'boot') then
    redis.call('SET', P .. 'boot', boot, 'EX', CONFIG.unfinished)
    if redis.call('ZCARD', P .. 'workers') > 0 then redis.call('SET', P .. 'healing', '1', 'PX', CONFIG.heal_ms) end
  end
  return redis.call('EXISTS', P .. 'healing') == 1
end

-- Whether the one who speaks still owns the task: its attempt is the latest, and it runs.
local function owns(run, index, attempt)
  local task = redis.call('HMGET', task_key(run, index), 'state', 'attempt')
  return task[1] == 'running' and task[2] == attempt
end

-- What became of each attempt, one after the other: shown when the last one has failed, too.
local function last_words(run, index, reason)
  local task = redis.call('HMGET', task_key(run, index), 'attempt', 'worker', 'words')
  local words = 'attempt ' .. task[1] .. ' on ' .. (task[2] or 'no worker') .. ': ' .. reason
  redis.call('HSET', task_key(run, index), 'words', (task[3] and task[3] .. '; ' or '') .. words)
end

local function set_back(run, index, reason, delay, counts)
  local key = task_key(run, index)
  local attempt = redis.call('HGET', key, 'attempt')
  move_task(run, index, 'queued')
  release_lease(run, index)
  redis.call('HDEL', key, 'owner')
  if not counts then redis.call('HINCRBY', key, 'strikes', -1) end
  event(run, 'task_requeued', 'task', text(index), 'attempt', attempt, 'reason', reason,
    'delay', string.format('%.3f', delay / 1000))
  to_front(run, index)
  if delay > 0 then
    redis.call('ZADD', P .. 'due', text(NOW + delay), member(run, index))
    keep(P .. 'due', CONFIG.unfinished)
  else
    make_ready(run, index)
  end
end

local function requeue(run, index, reason, delay, counts)
  last_words(run, index, reason)
  set_back(run, index, reason, delay, counts)
end

-- A worker takes a queued task: a new attempt, a lease, and the run is under way. Answers the attempt.
local function take(run, index, claim, worker, lease_ms)
  local key = task_key(run, index)
  move_task(run, index, 'running')
  local attempt = text(redis.call('HINCRBY', key, 'attempt', 1))
  redis.call('HINCRBY', key, 'strikes', 1)
  redis.call('HSET', key, 'claim', claim, 'owner', worker, 'worker', worker, 'started', text(NOW))
  redis.call('ZADD', P .. 'leases', text(NOW + tonumber(lease_ms)), member(run, index))
  keep(P .. 'leases', CONFIG.unfinished)
  if redis.call('HGET', run_key(run), 'state') == 'queued' then
    move_run(run, 'running')
    redis.call('HSET', run_key(run), 'started', text(NOW))
    event(run, 'run_started')
  end
  event(run, 'task_started', 'task', text(index), 'attempt', attempt, 'worker', worker)
  return attempt
end
