-- audit_action: writes down who did what by hand, to what.
-- args: who action subject detail
-- returns the entry's id

local entry = redis.call('XADD', P .. 'audit', 'MAXLEN', '~', CONFIG.actions_kept, '*',
  'who', who, 'action', action, 'subject', subject, 'detail', detail)
keep(P .. 'audit', CONFIG.unfinished)
return entry
