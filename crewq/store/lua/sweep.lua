-- sweep: finds what was lost on the way, and says what to publish again. Any number of sweepers may run at once.
-- uses: _limits
-- args: grace_ms max_attempts limit
--   grace_ms  how long a message may be under way before anything is thought of it
-- returns pairs: "job" and "run|index" to publish, "new" and one whose run is let go now, "probe" and "<ms> <lane>" to send
--         one through, "say" and the run whose Celery result is to be written, "resume" and the run that goes on, as its
--         tenant has a new day's budget

local found = {}
local ready = {}
local new = {}
local function say(word, about)
  found[#found + 1] = word
  found[#found + 1] = about
end
local function oldest(key, before) return redis.call('ZRANGEBYSCORE', key, '-inf', text(before), 'LIMIT', 0, limit) end

local function recover(run, index)
  local task = redis.call('HMGET', task_key(run, index), 'state', 'strikes', 'worker')
  if task[1] ~= 'running' then return release_lease(run, index) end
  if tonumber(task[2]) >= tonumber(max_attempts) then
    last_words(run, index, 'crashed')
    local words = redis.call('HGET', task_key(run, index), 'words')
    fail(run, index, cjson.encode({error = 'Crashed', message = 'The worker died in each attempt at this task: ' .. words,
      facts = {attempts = tonumber(task[2]), worker = task[3], reason = words .. '.'}}), new)
  else
    count(1, 'recoveries', 'task')
    requeue(run, index, 'crashed', 0, true)
    say('job', member(run, index))
  end
end

-- Acts on the oldest tasks of a zset; an entry whose run is gone is taken out.
local function each(key, before, act)
  for _, one in ipairs(oldest(key, before)) do
    local part = split(one, '|')
    if redis.call('EXISTS', task_key(part[1], part[2])) == 1 then
      act(part[1], part[2])
    else
      redis.call('ZREM', key, one)
    end
  end
end

local function send_again(run, index)
  unready(run, index)
  to_front(run, index)
  make_ready(run, index)
  say('job', member(run, index))
end

-- Where no sweeper got through for a while (Redis was full, a replica, or cut off from all of them), no worker could renew
-- either. Until all have had the time to, and to write down what they were answered meanwhile, no lease says anything.
local function silent()
  local last = redis.call('GET', P .. 'swept')
  redis.call('SET', P .. 'swept', text(NOW), 'EX', CONFIG.unfinished)
  if last and NOW - tonumber(last) > CONFIG.silence_ms then
    redis.call('SET', P .. 'silence', text(NOW + CONFIG.heal_ms), 'PX', CONFIG.heal_ms)
  end
  return tonumber(redis.call('GET', P .. 'silence') or '0') > NOW
end

-- Neither do they just after a restart of Redis.
local nobody_could_renew = silent()
if not healing() and not nobody_could_renew then each(P .. 'leases', NOW, recover) end

each(P .. 'due', NOW, function(run, index)
  redis.call('ZREM', P .. 'due', member(run, index))
  send_again(run, index)
end)

-- A lane is first in, first out: what was sent well before its watermark and is still unclaimed was lost. Well before: a
-- task is ready some moments before its message is sent, and a producer that sends many is overtaken by workers that send
-- one. A lane in which nothing moves is asked by a probe, so a healthy backlog is left alone however long it waits.
for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes')) do
  local mark = tonumber(redis.call('HGET', P .. 'watermark', lane) or '0')
  local key = P .. 'ready:' .. lane
  each(key, math.min(mark, NOW) - tonumber(grace_ms), function(run, index)
    count(1, 'recoveries', 'message')
    send_again(run, index)
  end)
  local waits = redis.call('ZRANGEBYSCORE', key, '-inf', text(NOW - tonumber(grace_ms)), 'LIMIT', 0, 1)[1]
  if waits and tonumber(redis.call('GET', P .. 'probe:' .. lane) or '0') <= NOW then
    -- Each probe that does not come back makes the next one later: nobody may be there to take it out.
    local sent = math.min(redis.call('HINCRBY', P .. 'probed', lane, 1), 4)
    keep(P .. 'probed', CONFIG.unfinished)
    leave_alone(lane, CONFIG.probe_ms * 2 ^ (sent - 1))
    say('probe', text(NOW) .. ' ' .. lane)
  end
end

for _, run in ipairs(oldest(P .. 'unsaid', NOW - tonumber(grace_ms))) do
  redis.call('ZADD', P .. 'unsaid', text(NOW), run)
  if redis.call('EXISTS', run_key(run)) == 1 then
    count(1, 'recoveries', 'result')
    say('say', run)
  else
    redis.call('ZREM', P .. 'unsaid', run)
  end
end

for _, run in ipairs(oldest(P .. 'renewals', NOW)) do
  redis.call('ZADD', P .. 'renewals', text(NOW + 60000), run) -- should whoever resumes it now die over that
  if redis.call('HGET', run_key(run), 'state') == 'paused' then say('resume', run) else redis.call('ZREM', P .. 'renewals', run) end
end

for _, one in ipairs(oldest(P .. 'expires', NOW)) do
  local part = split(one, '|')
  if part[1] == 'run' then drop_run(part[2]) else drop_batch(part[2]) end
end

-- Slots of workers that died are free now for those who were set aside.
local parked = redis.call('HGETALL', P .. 'parked')
for at = 1, #parked, 2 do
  drop_dead_slots(parked[at])
  wake_parked(parked[at], tonumber(parked[at + 1]), ready)
  if redis.call('SCARD', limit_key(parked[at], 'parked')) == 0 then redis.call('HDEL', P .. 'parked', parked[at]) end
end

for _, scope in ipairs(oldest(P .. 'taken', NOW)) do look_at_slots(scope) end

for _, one in ipairs(ready) do say('job', one) end

-- Workers may have come, and messages that were lost no longer stand in their queues.
for _, queue in ipairs(redis.call('SMEMBERS', P .. 'lines')) do lines.fill(queue, new) end
for _, one in ipairs(new) do say('new', one) end
return found
