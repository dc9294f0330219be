-- create_batch: opens a batch, or answers the one that its key already names.
-- args: batch crew key fingerprint terms
--   terms     JSON of what differs from the standard: {tenant, priority, max_cost, max_tokens}, all text
-- returns the batch's id, or "<id>|<fingerprint>" of the one that the key names

if redis.call('EXISTS', P .. 'batch:' .. batch) == 1 then return batch end -- asked again: its counters stay
if key ~= '' then
  local known = redis.call('GET', P .. 'kickoff:' .. key)
  local id = split(known or '', '|')[1]
  if id and redis.call('EXISTS', P .. 'batch:' .. id, run_key(id)) > 0 then return known end
  redis.call('SET', P .. 'kickoff:' .. key, batch .. '|' .. fingerprint, 'EX', CONFIG.unfinished)
end
redis.call('HSET', P .. 'batch:' .. batch, 'crew', crew, 'created', text(NOW), 'total', '0', 'left', '1')
if key ~= '' then redis.call('HSET', P .. 'batch:' .. batch, 'kickoff', key) end
for field, value in pairs(cjson.decode(terms)) do redis.call('HSET', P .. 'batch:' .. batch, field, value) end
keep_batch(batch, CONFIG.unfinished)
redis.call('ZADD', P .. 'batches', text(NOW), batch)
keep(P .. 'batches', CONFIG.unfinished)
redis.call('ZADD', P .. 'ids', 0, batch .. '|batch|' .. batch .. '|')
keep(P .. 'ids', CONFIG.unfinished)
return batch
