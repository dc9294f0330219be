-- open_batch: the batch is whole: it takes its place in the line, and its runs go to the workers in their turn.
-- args: batch window
--   window    how many runs of it may be under way
-- returns "run|index" to publish, ..., of this batch or of those that are before it

local ready = {}
if redis.call('HSETNX', P .. 'batch:' .. batch, 'opened', text(NOW)) == 0 then return ready end
lines.widen(batch, window, ready)
settle_batch(batch)
return ready
