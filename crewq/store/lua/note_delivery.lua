-- note_delivery: a probe has come through its lane, so whatever was sent before it has come through as well.
-- args: lane sent_ms
-- returns 1

note_delivery(lane, sent_ms)
return 1
