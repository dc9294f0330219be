"""What a worker's log lines look like: Celery's, or, with CREWQ_LOG=json, an object of JSON each, with the ids of the task that
they are about. Secrets of the environment are hidden in both, and no prompt or answer is in either."""

from __future__ import annotations

import json
import logging
import os
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from celery import signals

from crewq.hidden import Hidden, HidingFormatter
from crewq.plan import task_id
from crewq.settings import Settings
from crewq.store import Job

WARNINGS = logging.getLogger("py.warnings")


@dataclass(frozen=True)
class Working:
    """What this thread, or this task of the event loop, works on.

    Fields:
        run: its id.
        task: the id of the task, which is Celery's too.
        attempt: which attempt at the task; 0: it is not claimed yet.
        crew: what the crew is called; empty: it is not read yet.
    """

    run: str
    task: str
    attempt: int = 0
    crew: str = ""


# What the standard library has for this: it goes along to the event loop and into the threads of tools.
_working: ContextVar[Working | None] = ContextVar("crewq_working", default=None)


def working_on(job: Job, attempt: int = 0, crew: str = "") -> None:
    """From here on, lines are about this task."""
    _working.set(Working(job.run, task_id(job.run, job.index), attempt, crew))


def at_rest() -> None:
    """From here on, lines are about no task."""
    _working.set(None)


class JsonFormatter(logging.Formatter):
    """A line is one JSON object: time (UTC), level, logger, message, traceback if there is one, and the ids that are known.

    Args:
        hide: hides secrets, in what is not JSON yet.
    """

    def __init__(self, hide: Hidden) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._hide(record.getMessage()),
            **_about(record),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = self._hide(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _about(record: logging.LogRecord) -> dict[str, Any]:
    """The ids that are known; of a job that Celery speaks of before it has begun, only the task's."""
    if working := _working.get():
        return {name: value for name, value in asdict(working).items() if value}
    data = getattr(record, "data", None)
    return {"task": data["id"]} if isinstance(data, dict) and "id" in data else {}


def shape_logs(settings: Settings) -> None:
    """Give the log lines of the Celery program that starts in this process their form.

    Args:
        settings: say which.
    """
    hide = Hidden(os.environ)
    as_json = settings.log == "json"

    early = logging.StreamHandler()
    early.setFormatter(JsonFormatter(hide))

    def change(logger: logging.Logger, **_: Any) -> None:
        WARNINGS.removeHandler(early)
        for handler in logger.handlers:
            handler.setFormatter(JsonFormatter(hide) if as_json else HidingFormatter(handler.formatter, hide))

    def begin(instance: Any, **_: Any) -> None:
        instance.quiet = True  # Celery's banner is no JSON, and neither are
        WARNINGS.addHandler(early)  # warnings from before its logs are set up
        logging.captureWarnings(True)

    signals.after_setup_logger.connect(change, weak=False)
    signals.after_setup_task_logger.connect(change, weak=False)
    if as_json:
        signals.celeryd_init.connect(begin, weak=False)


__all__ = ["JsonFormatter", "Working", "at_rest", "shape_logs", "working_on"]
