-- refuse_call: the provider refused a call because there were too many: all workers leave that model alone for a while.
-- uses: _limits
-- args: run index attempt call limits at scope pause_ms
--   limits    as reserve_call was given them, and
--   at        the ms at which it was let go; 0: it was not asked
--   scope     the model under its key
-- returns how often this call was refused

local holder = run .. '|' .. text(index) .. '|' .. attempt .. '|' .. call
for _, limit in ipairs(cjson.decode(limits)) do
  local booked = limit.tpm > 0 and math.min(limit.tokens, limit.tpm) or 0
  give_back(limit.scope, holder, tonumber(at), booked, 0)
end

local function no_sooner(key, ms)
  if tonumber(redis.call('GET', key) or '0') < NOW + ms then redis.call('SET', key, text(NOW + ms), 'PX', text(ms)) end
end

no_sooner(limit_key(scope, 'pause'), tonumber(pause_ms))
no_sooner(P .. 'slowed', tonumber(pause_ms)) -- has the journal tell who begins a call that some model is left alone

local refused = limit_key(scope, 'refused')
local times = redis.call('HINCRBY', refused, run .. '|' .. text(index) .. '|' .. call, 1)
keep(refused, NET)
return times
