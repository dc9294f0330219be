"""A job of the pool, without Celery around it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A debugger's view of the steps after a job. Where CPython is left looking for an interrupt, they never end.
STEPS_AFTER_A_JOB = """
import sys, threading
from crewq.pool import Job, Terminated

def nothing(*_):
    pass

def endless():
    started.set()
    while True:
        nothing()

started = threading.Event()
job = Job(1, {work}, nothing, nothing, nothing, nothing, None, None)
thread = threading.Thread(target=job.run)
thread.start()
if job.work is endless:
    started.wait()
    job.interrupt(Terminated, for_good=True)
thread.join()
sys.settrace(lambda *_: nothing)
nothing()
sys.settrace(None)
"""


@pytest.mark.parametrize("work", ["nothing", "endless"])
def test_a_job_leaves_the_interpreter_as_it_was(work: str) -> None:
    subprocess.run([sys.executable, "-c", STEPS_AFTER_A_JOB.format(work=work)], check=True, timeout=20)
