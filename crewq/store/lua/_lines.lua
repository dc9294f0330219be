-- Who goes next. Behind the prelude in every verb: `lines` is what the prelude calls in here.
--
-- A batch holds its runs back, and those of all batches that go through one queue of Celery's stand in one line. Only as many
-- of them are let go as the workers have slots, beside those they work on: so whoever comes anew waits for no more than
-- one turn of each slot, however many runs there are before.
--   Between tenants, start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a tenant has a pass, the lowest goes next,
-- and each run that is let go moves it on by one step over the tenant's weight. One that comes anew begins where the one is
-- that went last: it is next, and has nothing to catch up with. One that left, and is back, goes on where it was.
--   Within a tenant, what is more urgent goes first, and of the batches that are as urgent each has its turn.

local STEP = 1000000 -- of a pass, for a run of a tenant of the weight 1
local LEVEL = 2 ^ 40 -- turns between two priorities
local NOW_AT, TURN = ' now', ' turn' -- beside tenants, whose names begin with no space

local function line_key(queue) return P .. 'line:' .. queue end
local function passes_key(queue) return P .. 'passes:' .. queue end
local function turns_key(queue, tenant) return P .. 'turns:' .. tenant .. ':' .. queue end

-- The lane that the runs of a batch begin in: its queue, and its priority there.
local function lane_of(batch)
  local key = P .. 'batch:' .. batch
  local lane = redis.call('HGET', key, 'lane')
  local run = not lane and redis.call('LINDEX', key .. ':held', 0)
  for index = 0, run and tonumber(redis.call('HGET', run_key(run), 'tasks') or '0') - 1 or -1 do
    local task = redis.call('HMGET', task_key(run, index), 'needs', 'lane')
    if task[1] == '0' and not lane then lane = task[2] end
  end
  if not lane then return nil end
  redis.call('HSET', key, 'lane', lane)
  return string.match(lane, '^(.*)/(%d+)$')
end

local function next_turn(queue, priority)
  return text(priority * LEVEL + redis.call('HINCRBY', passes_key(queue), TURN, 1))
end

local function weight_of(tenant)
  return tonumber(redis.call('HGET', P .. 'weights', tenant) or redis.call('HGET', P .. 'weights', '*') or '1')
end

-- How many more tasks of batches the queue takes, beside those that wait in it already: theirs are the even lanes.
-- It takes several at a time, as to send them together costs less than one by one.
local function places(queue)
  local slots = tonumber(redis.call('GET', P .. 'slots') or CONFIG.usual_slots)
  local free = slots
  for priority = 2, 8, 2 do free = free - redis.call('ZCARD', P .. 'ready:' .. queue .. '/' .. priority) end
  return free >= slots / 4 and free or 0
end

local function leave(queue, tenant, batch)
  redis.call('ZREM', turns_key(queue, tenant), batch)
  if redis.call('EXISTS', turns_key(queue, tenant)) == 1 then return end
  local pass = redis.call('ZSCORE', line_key(queue), tenant)
  if pass then redis.call('HSET', passes_key(queue), tenant, pass) end
  redis.call('ZREM', line_key(queue), tenant)
  if redis.call('EXISTS', line_key(queue)) == 0 then
    redis.call('DEL', passes_key(queue))
    redis.call('SREM', P .. 'lines', queue)
  end
end

local function renew(queue, tenant)
  for _, key in ipairs({line_key(queue), passes_key(queue), turns_key(queue, tenant), P .. 'lines'}) do
    keep(key, CONFIG.unfinished)
  end
end

-- Takes its place, if it has a run to let go, and may have one more under way.
local function join(queue, priority, batch)
  local key = P .. 'batch:' .. batch
  local about = redis.call('HMGET', key, 'room', 'tenant', 'opened')
  local tenant = about[2] or 'default'
  if not about[3] or tonumber(about[1] or '0') < 1 or redis.call('EXISTS', key .. ':held') == 0 then return end
  if redis.call('ZSCORE', turns_key(queue, tenant), batch) then return end
  redis.call('ZADD', turns_key(queue, tenant), next_turn(queue, priority), batch)
  if not redis.call('ZSCORE', line_key(queue), tenant) then
    local known = redis.call('HMGET', passes_key(queue), tenant, NOW_AT)
    redis.call('ZADD', line_key(queue), text(math.max(tonumber(known[1] or '0'), tonumber(known[2] or '0'))), tenant)
  end
  redis.call('SADD', P .. 'lines', queue)
  renew(queue, tenant)
end

-- Lets the next run of a batch go. It may run already, if a message came sooner than this, as one may after Redis has lost
-- its last second.
local function let_go(batch, ready)
  local run = redis.call('LPOP', P .. 'batch:' .. batch .. ':held')
  if not run then return end
  redis.call('HINCRBY', P .. 'batch:' .. batch, 'room', -1)
  local state = redis.call('HGET', run_key(run), 'state')
  if state == 'queued' or state == 'running' then release_run(run, ready) end
end

-- The one whose turn it is lets a run go, and stands behind those who have waited longer, or leaves the line.
local function serve(queue, tenant, pass, ready)
  local batch = redis.call('ZRANGE', turns_key(queue, tenant), 0, 0)[1]
  if not batch then return leave(queue, tenant, '') end
  local before = #ready
  let_go(batch, ready)
  if #ready > before then
    redis.call('HSET', passes_key(queue), NOW_AT, pass)
    redis.call('ZADD', line_key(queue), text(tonumber(pass) + STEP / weight_of(tenant)), tenant)
  end
  local room = tonumber(redis.call('HGET', P .. 'batch:' .. batch, 'room') or '0')
  if room < 1 or redis.call('EXISTS', P .. 'batch:' .. batch .. ':held') == 0 then return leave(queue, tenant, batch) end
  local _, priority = lane_of(batch)
  redis.call('ZADD', turns_key(queue, tenant), next_turn(queue, priority), batch)
  renew(queue, tenant)
end

-- Lets runs go for as long as the queue takes some.
function lines.fill(queue, ready)
  if redis.call('EXISTS', line_key(queue)) == 0 then return end
  local free = places(queue)
  while free > 0 do
    local first = redis.call('ZRANGE', line_key(queue), 0, 0, 'WITHSCORES')
    if not first[1] then return end
    local before = #ready
    serve(queue, first[1], first[2], ready)
    free = free - (#ready - before)
  end
end

-- A batch may have so many more runs under way.
function lines.widen(batch, count, ready)
  redis.call('HINCRBY', P .. 'batch:' .. batch, 'room', count)
  local queue, priority = lane_of(batch)
  if not queue then return end
  join(queue, priority, batch)
  lines.fill(queue, ready)
end

-- A run that a batch held back was taken out.
function lines.shorten(batch)
  local queue = lane_of(batch)
  if not queue or redis.call('EXISTS', P .. 'batch:' .. batch .. ':held') == 1 then return end
  leave(queue, redis.call('HGET', P .. 'batch:' .. batch, 'tenant') or 'default', batch)
end
