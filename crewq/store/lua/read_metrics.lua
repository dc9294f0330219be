-- read_metrics: the totals, and how things stand at this moment.
-- args:
-- returns {{field, total, ...}, {gauge, value, ...}, {lane, tasks queued in it, ms since the message of the first, ...},
--          {state, runs, ...}, {what a worker says of itself, as JSON, ...} of those seen within a minute}

local lanes = {}
local queued = 0
for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes')) do
  local key = P .. 'ready:' .. lane
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  local waiting = redis.call('ZCARD', key)
  queued = queued + waiting
  lanes[#lanes + 1] = lane
  lanes[#lanes + 1] = text(waiting)
  lanes[#lanes + 1] = text(first and math.max(0, NOW - tonumber(first)) or 0)
end

local states = {}
for _, state in ipairs({'queued', 'running', 'paused', 'completed', 'failed', 'cancelled'}) do
  states[#states + 1] = state
  states[#states + 1] = text(redis.call('ZCARD', P .. 'runs:' .. state))
end

local gauges = {
  'tasks_queued', text(queued),
  'tasks_running', text(redis.call('ZCARD', P .. 'leases')),
  'tasks_delayed', text(redis.call('ZCARD', P .. 'due')),
}
local workers = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', text(NOW - 60000), '+inf')) do
  workers[#workers + 1] = redis.call('HGET', P .. 'workers:about', worker)
end
return {redis.call('HGETALL', METRICS), gauges, lanes, states, workers}
