"""What a process of a chaos run is told before anything else: Python imports this by its name.

CHAOS_CLOCK_OFFSET sets its wall clock off, in seconds. CHAOS_LIVES is a file in which each process that is forked off, a
child of Celery's own pool, writes down its id and the API key that tells its calls from those of the others.
"""

import ctypes
import json
import os
import signal
import time

if _offset := float(os.environ.get("CHAOS_CLOCK_OFFSET", "0")):
    _true_time = time.time
    time.time = lambda: _true_time() + _offset

_key = os.environ.get("OPENAI_API_KEY", "")
PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>


def _begin_life() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ["OPENAI_API_KEY"] = f"{_key}-{os.getpid()}"
    line = json.dumps({"pid": os.getpid(), "key": os.environ["OPENAI_API_KEY"]})
    with open(os.environ["CHAOS_LIVES"], "ab", buffering=0) as file:  # noqa: PTH123  nothing more is imported in here
        file.write(line.encode() + b"\n")


if _key and "CHAOS_LIVES" in os.environ:
    os.register_at_fork(after_in_child=_begin_life)
