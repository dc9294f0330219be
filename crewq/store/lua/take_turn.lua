-- take_turn: a call's turn under a limit of calls per minute, kept over the whole fleet: never more in any one minute.
-- args: scope per_minute
-- returns how many ms to wait before making the call

local key = P .. 'limit:' .. scope
local limit = tonumber(per_minute)
local latest = tonumber(redis.call('LINDEX', key, 0) or '0')
local first_of_minute = redis.call('LINDEX', key, limit - 1)
local turn = math.max(NOW, latest, first_of_minute and tonumber(first_of_minute) + 60000 or 0)
redis.call('LPUSH', key, text(turn))
redis.call('LTRIM', key, 0, limit - 1)
redis.call('PEXPIRE', key, text(turn - NOW + 60000))
return turn - NOW
