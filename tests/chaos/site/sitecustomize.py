"""Sets the wall clock of a process off, for a worker of a chaos run: CHAOS_CLOCK_OFFSET is in seconds."""

import os
import time

_offset = float(os.environ.get("CHAOS_CLOCK_OFFSET", "0"))
_true_time = time.time
time.time = lambda: _true_time() + _offset
