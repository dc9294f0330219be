-- settle_call: a call that was let go has ended: its slots are free, and its tokens are counted as they were.
-- uses: _limits
-- args: run index attempt call limits at used
--   limits    as reserve_call was given them
--   at        the ms at which it was let go
--   used      its tokens; -1: nobody knows, so the estimate stands
-- returns "run|index" to publish: tasks that waited for a slot

local holder = run .. '|' .. text(index) .. '|' .. attempt .. '|' .. call
local ready = {}
for _, limit in ipairs(cjson.decode(limits)) do
  local booked = limit.tpm > 0 and math.min(limit.tokens, limit.tpm) or 0
  local held = give_back(limit.scope, holder, tonumber(at), booked, tonumber(used))
  redis.call('HDEL', limit_key(limit.scope, 'refused'), run .. '|' .. text(index) .. '|' .. call)
  if held and limit.slots > 0 then wake_parked(limit.scope, limit.slots, ready) end
end
return ready
