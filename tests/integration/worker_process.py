"""Real worker processes for tests: `celery -A workers.app worker`, as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Self

from tests.waiting import until

ROOT = Path(__file__).parents[2]
IMPORTS = "tests.integration.crews"
_numbers = count(1)


class WorkerProcess:
    """One worker of the Redis at `url`. `log` is what it has said so far, at INFO.

    Args:
        folder: where its log and its files go.
        url: of Redis.
        options: of Celery's command line.
        app: what `celery -A` names.
        env: its further environment.
    """

    def __init__(self, folder: Path, url: str, *options: str, app: str = "workers.app", **env: str) -> None:
        name = f"worker-{next(_numbers)}"
        self.url = url
        self.output_dir = folder / "output"
        self._log = folder / f"{name}.log"
        standard = {
            "CREWQ_REDIS_URL": url,
            "CREWQ_IMPORTS": IMPORTS,
            "CREWQ_LEASE_SECONDS": "2",
            "CREWQ_OUTPUT_DIR": str(self.output_dir),
            "CREWQ_NOTES": str(folder / "notes"),
        }
        self._env = environment(**standard | env)
        command = ["-m", "celery", "-A", app, "worker", "-l", "INFO", "-n", f"{name}@%h", *options]
        with self._log.open("w") as log:
            # A session of its own, so that whatever it starts goes when it is killed.
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ready(self) -> Self:
        """Wait until it takes messages."""
        until(lambda: " ready." in self.log or self.process.poll() is not None, 40)
        assert self.process.poll() is None, self.log
        return self

    def kill(self) -> None:
        """`kill -9`, of it and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def terminate(self) -> None:
        """SIGTERM, as an orchestrator sends it."""
        self.process.terminate()

    def exit_status(self, seconds: float = 20) -> int:
        """Wait for its end."""
        return self.process.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what crewq and litellm would read in it, and with `more`."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CREWQ_", "OPENAI_", "REDIS_", "MODEL"))
    }
    return own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


__all__ = ["IMPORTS", "ROOT", "WorkerProcess", "environment"]
