-- Stands before the prelude: totals since the first run, in one hash. They are counted by the step that changes a state, so a
-- verb that is done twice counts once, and what Redis lost is counted when it is done again. A field is the name of a metric
-- and its labels, with \31 between them; of a histogram, then the ms up to which a bucket goes, `more`, or `sum`.
-- Times are added up in ms and money in billionths of a dollar, so that sums are exact.

local METRICS = KEYS[1] .. 'metrics'
local NAMES = 100 -- models that are told apart
local LONGEST_NAME = 100 -- bytes
local kept = false

-- Never an error: nothing that was paid for may be lost over a number.
local function count(by, ...)
  if not (by > 0 and by < 1e15) then return end
  redis.pcall('HINCRBY', METRICS, table.concat({...}, '\31'), string.format('%.0f', by))
  if not kept then redis.call('EXPIRE', METRICS, CONFIG.unfinished) end
  kept = true
end

local function observe(ms, ...)
  ms = math.max(0, math.floor(ms + 0.5))
  local series = table.concat({...}, '\31')
  local bucket = 'more'
  for at = #BOUNDS, 1, -1 do
    if ms <= BOUNDS[at] then bucket = string.format('%.0f', BOUNDS[at]) end
  end
  count(1, series, bucket)
  count(ms, series, 'sum')
end

-- What people named, as a label: there are never so many that a scrape becomes large.
local function label(name)
  local safe = string.gsub(name, '%c', ' ')
  if #safe > LONGEST_NAME then return 'other' end
  local field = 'name\31' .. safe
  if redis.call('HEXISTS', METRICS, field) == 1 then return safe end
  if tonumber(redis.call('HGET', METRICS, 'names') or '0') >= NAMES then return 'other' end
  count(1, field)
  count(1, 'names')
  return safe
end

local function count_call(kind, name, outcome)
  if kind == 'model' then count(1, 'model_calls', label(name), outcome) end
  if kind == 'tool' then count(1, 'tool_calls', outcome) end
end
