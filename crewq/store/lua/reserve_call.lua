-- reserve_call: lets a call to a model go if all its limits and budgets have room for it now, or says how long to wait.
-- uses: _limits
-- uses: _budgets
-- args: run index attempt call limits charge
--   limits    JSON [{scope, rpm, tpm, slots, tokens}]; rpm, tpm and slots may be 0: not limited. tokens: an estimate
--   charge    JSON {cost, tokens, max_cost, max_tokens}: what the call is thought to cost (in billionths of a dollar; -1:
--             nobody knows) and to use, and what its tenant may spend in a day (0: as much as it likes); empty: no budget
-- returns {"go", ms of now}, {"wait", ms, scope} until its turn, {"pause", ms, scope} while the provider is left alone,
--         {"full", "0", scope} until a slot is free, or {"stop"}: this attempt no longer owns the task. Of budgets:
--         {"held" | "over" | "unpriced", "run" | "batch" | "tenant", its name, "cost" | "tokens", spent, of how much}: there is
--         room once other calls have ended for less than they reserved; there is none; or the call's price is not known.
-- A call that waits is not under way, so the journal does not say that it is.

if not owns(run, index, attempt) then return {'stop'} end
if healing() then return {'wait', '500', ''} end

local holder = run .. '|' .. text(index) .. '|' .. attempt .. '|' .. call
local journal = run_key(run) .. ':journal'
local field = text(index) .. ':' .. call
local longest = {'wait', 0, ''}

local function waiting(word, ms, scope)
  if ms > longest[2] then longest = {word, ms, scope} end
end

local function who_of(limit) return run .. '|' .. text(index) .. '|' .. text(limit.tokens) .. '|' .. call end

local function look_at(limit)
  local who = who_of(limit)
  waiting('pause', tonumber(redis.call('GET', limit_key(limit.scope, 'pause')) or '0') - NOW, limit.scope)
  if limit.rpm + limit.tpm + limit.slots == 0 then return false end
  tidy_line(limit.scope)
  local before = ahead(limit.scope, who)
  local wait = 0
  if limit.rpm > 0 then wait = wait_for_call(limit.scope, limit.rpm, before) end
  if limit.tpm > 0 then
    local wanted = tokens_of(limit.scope, before) + math.min(limit.tokens, limit.tpm)
    wait = math.max(wait, wait_for_tokens(limit.scope, limit.tpm, wanted))
  end
  waiting('wait', wait, limit.scope)
  local full = limit.slots > 0 and is_full(limit.scope, limit.slots, before)
  if full or wait > 0 then
    redis.call('ZADD', limit_key(limit.scope, 'line'), 'NX', text(NOW), who)
    redis.call('ZADD', limit_key(limit.scope, 'awaited'), text(NOW + math.min(wait, LONGEST) + PATIENCE), who)
    keep(limit_key(limit.scope, 'line'), NET)
    keep(limit_key(limit.scope, 'awaited'), NET)
  end
  return full
end

local function take_place(limit)
  leave_line(limit.scope, who_of(limit))
  redis.call('ZADD', limit_key(limit.scope, 'slots'), text(NOW), holder)
  keep(limit_key(limit.scope, 'slots'), CONFIG.unfinished)
  redis.call('ZADD', P .. 'taken', 'NX', text(NOW + LOOK), limit.scope)
  keep(P .. 'taken', CONFIG.unfinished)
  if limit.rpm > 0 then
    redis.call('ZADD', limit_key(limit.scope, 'calls'), text(NOW), holder .. '|' .. text(NOW))
    keep(limit_key(limit.scope, 'calls'), MINUTE / 1000 * 2)
  end
  if limit.tpm > 0 then
    local second = text(math.floor(NOW / 1000))
    redis.call('HINCRBY', limit_key(limit.scope, 'tokens'), second, text(math.min(limit.tokens, limit.tpm)))
    keep(limit_key(limit.scope, 'tokens'), MINUTE / 1000 * 2)
  end
end

local function not_under_way(reason)
  if redis.call('HGET', journal, field) ~= 'started ' .. attempt then return end
  redis.call('HDEL', journal, field)
  count(1, 'limit_waits', reason)
end

local wanted = cjson.decode(limits)
local wants = charge ~= '' and cjson.decode(charge)
local budgets = wants and budgets_of(run, wants)
if wants then
  take_back_all(run, holder) -- of a try before this one
  local refused = objection(budgets, wants.cost, wants.tokens)
  if refused then
    not_under_way('budget')
    for _, limit in ipairs(wanted) do leave_line(limit.scope, who_of(limit)) end
    return refused
  end
end

local full
for _, limit in ipairs(wanted) do
  if look_at(limit) then full = limit.scope end
end

if full or longest[2] > 0 then
  not_under_way(longest[2] == 0 and 'slots' or longest[1] == 'pause' and 'provider' or 'rate')
  if longest[2] > 0 then return {longest[1], text(math.min(longest[2], LONGEST)), longest[3]} end
  return {'full', '0', full}
end

for _, limit in ipairs(wanted) do take_place(limit) end
if wants then reserve(run, budgets, holder, math.max(wants.cost, 0), wants.tokens) end
redis.call('HSET', journal, field, 'started ' .. attempt)
keep(journal, CONFIG.unfinished)
return {'go', text(NOW)}
