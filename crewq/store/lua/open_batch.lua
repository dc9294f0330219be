-- open_batch: the batch is whole: its first runs go to the workers, and each that ends lets the next one go.
-- args: batch window
--   window    how many runs of it may be under way
-- returns "run|index" to publish, ...

local ready = {}
if redis.call('HSETNX', P .. 'batch:' .. batch, 'opened', text(NOW)) == 0 then return ready end
release_held(batch, tonumber(window), ready)
settle_batch(batch)
return ready
