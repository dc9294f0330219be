-- remove_schedule: forgets a schedule. Runs that it has started go on.
-- uses: _schedules
-- args: name
-- returns 1, or 0 if there was none

redis.call('ZREM', P .. 'schedules', name)
return redis.call('DEL', schedule_key(name))
