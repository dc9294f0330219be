-- Stands between the prelude and the verbs that keep budgets and add up costs. Money is counted in billionths of a dollar,
-- so that sums are exact. What a call may cost is reserved before it is made; its answer is written down, counted, and its
-- reservation taken back in one step. The day is that of UTC, by the clock of Redis.
-- A reservation is "<run>|<index>|<attempt>|<call>" here, and holds "<billionths> <tokens> <day>".

local NANO = 1000000000
local DAY = 86400000

local function nano(dollars) return math.floor(tonumber(dollars or '0') * NANO + 0.5) end
local function today() return text(math.floor(NOW / DAY)) end
local function costs_key(day, tenant) return P .. 'costs:' .. day .. ':' .. tenant end

-- -- what was spent --------------------------------------------------------------------------------------------------

-- A row of costs is eight numbers: calls, tokens of questions, of answers, in all, billionths of dollars, calls of an unknown
-- price; and what was taken for the cost and the tokens of calls that did not say, in billionths and tokens.
local function row_of(key, field)
  local row = split(redis.call('HGET', key, field) or '0 0 0 0 0 0 0 0', ' ')
  for at = 1, 8 do row[at] = tonumber(row[at]) end
  return row
end

local function add_row(key, field, more)
  local row = row_of(key, field)
  for at = 1, 8 do row[at] = text(row[at] + more[at]) end
  redis.call('HSET', key, field, table.concat(row, ' '))
end

-- Adds a call to the costs of its day: by crew and model, and in all.
local function count_costs(tenant, crew, model, row)
  local day = today()
  local key = costs_key(day, tenant)
  if redis.call('EXISTS', key) == 0 then
    redis.call('ZADD', P .. 'costs', day, day .. '|' .. tenant)
    redis.call('ZREMRANGEBYSCORE', P .. 'costs', '-inf', text(tonumber(day) - CONFIG.costs_kept / 86400))
    keep(P .. 'costs', CONFIG.costs_kept)
  end
  add_row(key, crew .. '\31' .. model, row)
  add_row(key, 'all', row)
  keep(key, CONFIG.costs_kept)
end

-- -- what may be spent -----------------------------------------------------------------------------------------------

-- What a run or a batch has spent. Answers of calls that did not say count as what was thought of them.
local function spent_of(key)
  local about = redis.call('HMGET', key, 'usage.cost', 'presumed.cost', 'usage.total_tokens', 'presumed.tokens')
  return {cost = nano(about[1]) + tonumber(about[2] or '0'), tokens = tonumber(about[3] or '0') + tonumber(about[4] or '0')}
end

local function spent_already(key, max_cost, max_tokens)
  local spent = spent_of(key)
  if max_cost ~= '' and nano(max_cost) <= spent.cost then return {'spent', 'cost', text(spent.cost)} end
  if max_tokens ~= '' and tonumber(max_tokens) <= spent.tokens then return {'spent', 'tokens', text(spent.tokens)} end
end

local function raise(key, max_cost, max_tokens)
  if max_cost ~= '' then redis.call('HSET', key, 'max_cost', max_cost) end
  if max_tokens ~= '' then redis.call('HSET', key, 'max_tokens', max_tokens) end
end

-- The budgets that a call stands under, each as {kind, name, reserved, max, spent}.
local function budgets_of(run, daily)
  local found = {}
  local function add(kind, name, reserved, max, spent)
    if max.cost + max.tokens > 0 then
      found[#found + 1] = {kind = kind, name = name, reserved = reserved, max = max, spent = spent}
    end
  end
  local function from_hash(kind, name, key)
    local max = redis.call('HMGET', key, 'max_cost', 'max_tokens')
    add(kind, name, key .. ':reserved', {cost = nano(max[1]), tokens = tonumber(max[2] or '0')}, spent_of(key))
  end
  local about = redis.call('HMGET', run_key(run), 'batch', 'tenant')
  local tenant = about[2] or 'default'
  from_hash('run', run, run_key(run))
  if about[1] and about[1] ~= '' then from_hash('batch', about[1], P .. 'batch:' .. about[1]) end
  local row = row_of(costs_key(today(), tenant), 'all')
  add('tenant', tenant, P .. 'reserved:' .. today() .. ':' .. tenant, {cost = daily.max_cost, tokens = daily.max_tokens},
    {cost = row[5] + row[7], tokens = row[4] + row[8]})
  return found
end

-- -- reservations ----------------------------------------------------------------------------------------------------

local function take_back(reserved, holder)
  local held = redis.call('HGET', reserved, holder)
  if not held then return nil end
  local part = split(held, ' ')
  redis.call('HDEL', reserved, holder)
  redis.call('HINCRBY', reserved, 'cost', text(0 - tonumber(part[1])))
  redis.call('HINCRBY', reserved, 'tokens', text(0 - tonumber(part[2])))
  return part
end

-- The run's own list has every reservation of its calls, so it tells whether there is anything to take back elsewhere.
local function take_back_all(run, holder)
  local held = take_back(run_key(run) .. ':reserved', holder)
  if not held then return nil end
  local about = redis.call('HMGET', run_key(run), 'batch', 'tenant')
  if about[1] and about[1] ~= '' then take_back(P .. 'batch:' .. about[1] .. ':reserved', holder) end
  take_back(P .. 'reserved:' .. held[3] .. ':' .. (about[2] or 'default'), holder)
  return held
end

local function put(reserved, holder, cost, tokens, seconds)
  redis.call('HSET', reserved, holder, text(cost) .. ' ' .. text(tokens) .. ' ' .. today())
  redis.call('HINCRBY', reserved, 'cost', text(cost))
  redis.call('HINCRBY', reserved, 'tokens', text(tokens))
  keep(reserved, seconds)
end

local function reserve(run, budgets, holder, cost, tokens)
  local own = run_key(run) .. ':reserved'
  put(own, holder, cost, tokens, CONFIG.unfinished)
  for _, budget in ipairs(budgets) do
    if budget.reserved ~= own then
      put(budget.reserved, holder, cost, tokens, budget.kind == 'tenant' and DAY / 1000 * 2 or CONFIG.unfinished)
    end
  end
end

-- A reservation is held for as long as the lease of the task whose call it is.
local function drop_dead_reservations(reserved)
  for _, holder in ipairs(redis.call('HKEYS', reserved)) do
    local part = split(holder, '|')
    if #part > 1 then
      local lease = redis.call('ZSCORE', P .. 'leases', member(part[1], part[2]))
      if not lease or tonumber(lease) <= NOW or not owns(part[1], part[2], part[3]) then take_back(reserved, holder) end
    end
  end
end

local function fits(budget, what, amount)
  local max = budget.max[what]
  local function room() return budget.spent[what] + tonumber(redis.call('HGET', budget.reserved, what) or '0') + amount <= max end
  if max == 0 or room() then return true end
  drop_dead_reservations(budget.reserved)
  return room()
end

-- Why a call may not go now: {"unpriced" | "over" | "held", kind, name, cost | tokens, spent, max}, or nil. It is "over" once
-- nothing that is under way could make room for it, and "held" while that could cost less than is reserved for it.
local function objection(budgets, cost, tokens)
  local found
  for _, budget in ipairs(budgets) do
    for _, one in ipairs({{'cost', cost}, {'tokens', tokens}}) do
      local what, amount = one[1], one[2]
      local function object(word) return {word, budget.kind, budget.name, what, text(budget.spent[what]), text(budget.max[what])} end
      if what == 'cost' and cost < 0 and budget.max.cost > 0 then return object('unpriced') end
      if budget.max[what] > 0 and budget.spent[what] + amount > budget.max[what] then return object('over') end
      if not found and not fits(budget, what, amount) then found = object('held') end
    end
  end
  return found
end
