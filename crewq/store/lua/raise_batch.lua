-- raise_batch: gives a batch a new budget. Its runs that were paused over the old one are resumed one by one.
-- uses: _budgets
-- args: batch max_cost max_tokens
--   max_cost, max_tokens  in dollars and tokens, for all its runs together; empty: as it is
-- returns {"raised"}, {"spent", "cost" | "tokens", how much} as much as that is spent already, or {"gone"}

local key = P .. 'batch:' .. batch
if redis.call('EXISTS', key) == 0 then return {'gone'} end
local too_little = spent_already(key, max_cost, max_tokens)
if too_little then return too_little end
raise(key, max_cost, max_tokens)
redis.call('HDEL', key, 'paused_for')
return {'raised'}
