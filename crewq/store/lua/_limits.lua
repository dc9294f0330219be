-- Stands between the prelude and the verbs that keep limits. A scope is what a limit is kept for: a model under a key, or
-- the max_rpm of an agent or a crew. Calls are let go one by one, so in no minute are there more than a limit allows.
-- A call is "<run>|<index>|<attempt>|<id>" here, and who waits for its turn "<run>|<index>|<tokens>|<id>", in any attempt.

local MINUTE = 60000
local PATIENCE = 60000 -- how long a place in the line is kept for one who does not come when it is his turn
local LOOK = 10000 -- between two looks at whether the calls that hold slots still live
local LONGEST = 60000 -- nobody is told to wait longer before he asks again: by then the line may be shorter

local function limit_key(scope, part) return P .. 'limit:' .. scope .. ':' .. part end

local function leave_line(scope, who)
  redis.call('ZREM', limit_key(scope, 'line'), who)
  redis.call('ZREM', limit_key(scope, 'awaited'), who)
end

local function still_there(who)
  local part = split(who, '|')
  local state = redis.call('HGET', task_key(part[1], part[2]), 'state')
  return state == 'queued' or state == 'running'
end

-- Who does not come any more keeps nobody behind him waiting.
local function tidy_line(scope)
  local line = limit_key(scope, 'line')
  for _, who in ipairs(redis.call('ZRANGEBYSCORE', limit_key(scope, 'awaited'), '-inf', text(NOW))) do
    leave_line(scope, who)
  end
  local first = redis.call('ZRANGE', line, 0, 0)[1]
  while first and not still_there(first) do
    leave_line(scope, first)
    first = redis.call('ZRANGE', line, 0, 0)[1]
  end
end

local function ahead(scope, who)
  local line = limit_key(scope, 'line')
  return redis.call('ZRANK', line, who) or redis.call('ZCARD', line)
end

local function tokens_of(scope, count)
  local tokens = 0
  for _, other in ipairs(count > 0 and redis.call('ZRANGE', limit_key(scope, 'line'), 0, count - 1) or {}) do
    tokens = tokens + tonumber(split(other, '|')[3])
  end
  return tokens
end

-- How long until a call may go, with so many before it: the line moves on as the calls of the last minute grow old.
local function wait_for_call(scope, limit, before)
  local calls = limit_key(scope, 'calls')
  redis.call('ZREMRANGEBYSCORE', calls, '-inf', text(NOW - MINUTE))
  local used = redis.call('ZCARD', calls)
  local follows = used + before - limit -- the place in the row of the call a minute after which this one may go
  local wait = 0
  while follows >= used do
    follows = follows - limit
    wait = wait + MINUTE
  end
  if follows < 0 then return wait end
  return wait + tonumber(redis.call('ZRANGE', calls, follows, follows, 'WITHSCORES')[2]) + MINUTE - NOW
end

-- Tokens are counted by the second, and a second counts until all of it is a minute old.
local function wait_for_tokens(scope, limit, wanted)
  local tokens = limit_key(scope, 'tokens')
  local used = 0
  local seconds = {}
  local counts = {}
  local all = redis.call('HGETALL', tokens)
  for at = 1, #all, 2 do
    local second = tonumber(all[at])
    if (second + 1) * 1000 + MINUTE <= NOW then
      redis.call('HDEL', tokens, all[at])
    else
      seconds[#seconds + 1] = second
      counts[second] = tonumber(all[at + 1])
      used = used + counts[second]
    end
  end
  table.sort(seconds)
  local excess = used + wanted - limit
  local wait = 0
  while excess > used do
    excess = excess - limit
    wait = wait + MINUTE
  end
  if excess <= 0 then return wait end
  for _, second in ipairs(seconds) do
    excess = excess - counts[second]
    if excess <= 0 then return wait + (second + 1) * 1000 + MINUTE - NOW end
  end
  return wait
end

-- A slot is held for as long as the lease of the task whose call it is: one of a worker that died is free again then.
local function drop_dead_slots(scope)
  local slots = limit_key(scope, 'slots')
  local dropped = 0
  for _, call in ipairs(redis.call('ZRANGE', slots, 0, -1)) do
    local part = split(call, '|')
    local lease = redis.call('ZSCORE', P .. 'leases', member(part[1], part[2]))
    if not lease or tonumber(lease) <= NOW or not owns(part[1], part[2], part[3]) then
      redis.call('ZREM', slots, call)
      dropped = dropped + 1
    end
  end
  return dropped
end

-- Whoever wants a slot drops the dead ones, but nobody may ever want one of this scope again.
local function look_at_slots(scope)
  drop_dead_slots(scope)
  if redis.call('EXISTS', limit_key(scope, 'slots')) == 0 then return redis.call('ZREM', P .. 'taken', scope) end
  redis.call('ZADD', P .. 'taken', text(NOW + LOOK), scope)
end

local function is_full(scope, limit, before)
  if redis.call('ZCARD', limit_key(scope, 'slots')) + before < limit then return false end
  drop_dead_slots(scope)
  return redis.call('ZCARD', limit_key(scope, 'slots')) + before >= limit
end

-- Gives back what a call held, if it does: the slot, and the tokens that it did not use (-1: nobody knows how many).
local function give_back(scope, call, at, booked, used)
  if redis.call('ZREM', limit_key(scope, 'slots'), call) == 0 then return false end
  local second = text(math.floor(at / 1000))
  local tokens = limit_key(scope, 'tokens')
  if used >= 0 and redis.call('HEXISTS', tokens, second) == 1 then
    redis.call('HINCRBY', tokens, second, text(used - booked))
  end
  return true
end

-- The first in the line are those whom the free slots are for: who of them was set aside goes on, the others ask themselves.
local function wake_parked(scope, most, ready)
  tidy_line(scope)
  local free = most - redis.call('ZCARD', limit_key(scope, 'slots'))
  for _, who in ipairs(free > 0 and redis.call('ZRANGE', limit_key(scope, 'line'), 0, free - 1) or {}) do
    local part = split(who, '|')
    local one = member(part[1], part[2])
    if redis.call('SREM', limit_key(scope, 'parked'), one) == 1 and redis.call('ZREM', P .. 'due', one) == 1 then
      to_front(part[1], part[2])
      make_ready(part[1], part[2])
      ready[#ready + 1] = one
    end
  end
end
