"""B8: what crewq weighs: its import, its installed size, the first result in one process, a worker's start, a slot's memory.

Where CrewAI is installed (`./run bench peers`), it is beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._crews import tasks_in_a_row
from benchmarks._peers import CREWAI, QUIET
from benchmarks._report import Row, absent, at_most, interleaved, median, plain, ratio
from benchmarks._size import megabytes
from benchmarks._stage import ROOT, Process, stage, wait_until, worker
from benchmarks._work import crewq_runs

CREWAI_MEGABYTES = 823.0  # CrewAI 1.15 as pip installs it, for where it is not installed
SLOTS, LATENCY = 200, 8.0
MADE_OF = "from celery import Celery; import pydantic, redis, asyncio"
FIRST_RESULT = """
from crewq import Agent, Crew, Task
from crewq.testing import ScriptedModel
writer = Agent(role="R", goal="G", backstory="B", llm=ScriptedModel(["Done."]))
print(Crew(agents=[writer], tasks=[Task(description="Say", expected_output="A word", agent=writer)]).kickoff())
"""


def measure(*, full: bool, tiny: bool = False) -> list[Row]:
    """Look at all of it."""
    repeats = 1 if tiny else 15 if full else 7
    rows = [_import(repeats), _against_crewai(repeats), _installed(), _first_result(1 if tiny else 3)]
    return [*rows, *(_worker(4, 0.5) if tiny else _worker(SLOTS, LATENCY))]


# -- the package ------------------------------------------------------------------------------------------------------


def _import(repeats: int) -> Row:
    ours, theirs = interleaved(repeats, lambda: _seconds("import crewq"), lambda: _seconds(MADE_OF))
    numbers = {"crewq ms": 1000 * median(ours), "these ms": 1000 * median(theirs)}
    return plain("B8", "import crewq, against Celery, pydantic, redis and asyncio", ratio(ours, theirs), "x", **numbers)


def _against_crewai(repeats: int) -> Row:
    what = "import crewq, against import crewai"
    if not (python := CREWAI.python):
        return absent("B8", what, CREWAI.name)
    _seconds("import crewai", str(python))  # which writes its bytecode
    ours, theirs = interleaved(
        repeats, lambda: _seconds("import crewq"), lambda: _seconds("import crewai", str(python))
    )
    numbers = {"crewq ms": 1000 * median(ours), "CrewAI ms": 1000 * median(theirs)}
    return at_most("B8", what, ratio(ours, theirs), 0.25, **numbers)


def _seconds(statement: str, python: str = sys.executable) -> float:
    """What an import takes in a new interpreter, without the interpreter's own start."""
    timed = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    environ = os.environ | QUIET
    done = subprocess.run(
        [python, "-c", timed], env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return float(done.stdout.split()[-1])


def _installed() -> Row:
    ours, theirs = megabytes("crewq"), _crewai_megabytes()
    numbers = {"crewq MB": ours, "CrewAI MB": theirs}
    return at_most("B8", "installed, with all that it needs, against CrewAI", ours / theirs, 0.4, **numbers)


def _crewai_megabytes() -> float:
    if not (python := CREWAI.python):
        return CREWAI_MEGABYTES
    command = [str(python), "-m", "benchmarks._size", "crewai"]
    return float(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)


def _first_result(repeats: int) -> Row:
    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "first.py")
            script.write_text(FIRST_RESULT, encoding="utf-8")
            environ = {name: value for name, value in os.environ.items() if not name.startswith("CREWQ_")}
            return _seconds_of_process([sys.executable, str(script)], folder, environ)

    return plain(
        "B8",
        "embedded: from `python first.py` to its end, with a result",
        median([once() for _ in range(repeats)]),
        "s",
    )


def _seconds_of_process(command: list[str], folder: str, environ: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


# -- a worker ---------------------------------------------------------------------------------------------------------


def _worker(slots: int, latency: float) -> list[Row]:
    with stage(latency, counted=True) as found, worker("workers.app", "-c", str(slots)) as process:
        crewq_runs(1)  # warm: what is loaded once
        idle = process.megabytes
        calls = found.calls()
        batch = tasks_in_a_row(1).kickoff_for_each_async([{"topic": str(at)} for at in range(slots)])
        wait_until(lambda: found.calls() - calls >= slots)
        busy = process.megabytes
        batch.results()
        return [
            _ready(process),
            at_most(
                "B8",
                f"memory of a slot, {slots} at work",
                (busy - idle) / slots,
                1,
                "MB",
                **{"idle MB": idle, "busy MB": busy},
            ),
        ]


def _ready(process: Process) -> Row:
    return plain("B8", "a worker, from its start to its first answer to a ping", process.ready, "s")
