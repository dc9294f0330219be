-- tell_call: tells who follows the run of a piece of a model's answer, while the call is under way.
-- args: run index attempt call agent offset tool piece
--   attempt   only the latest claim tells, so what a lost worker still hears is not mixed in
--   agent     the role of the agent that asked
--   offset    how much of the answer's text came before it; for a tool, how many tools
--   tool      empty: the piece is text; else the name of a tool that the model calls, and the piece is its arguments
-- returns {"told"} or {"refused"}

if not owns(run, index, attempt) then return {'refused'} end
event(run, 'token', 'task', text(index), 'attempt', attempt, 'call', call, 'agent', agent, 'offset', offset, 'tool', tool, 'text', piece)
return {'told'}
