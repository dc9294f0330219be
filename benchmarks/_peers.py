"""CrewAI beside crewq: `BENCH_CREWAI_PYTHON` is the interpreter of an environment in which it is installed."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

QUIET = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}


@dataclass(frozen=True)
class Spent:
    """Seconds of wall and of processor."""

    seconds: float
    cpu: float


def crewai_python() -> str | None:
    """The interpreter that has CrewAI, if there is one."""
    return os.environ.get("BENCH_CREWAI_PYTHON")


def crewai_runs(items: int) -> Spent:
    """So many runs of three tasks with CrewAI's `kickoff_for_each`, in the environment that the stage has set."""
    command = [crewai_python() or "", str(Path(__file__).with_name("_crewai.py")), str(items)]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | QUIET
    done = subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return Spent(**json.loads(done.stdout.splitlines()[-1]))
