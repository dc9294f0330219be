"""The log file of a crew with `output_log_file`: what became of each task of a run, written where it was kicked off."""

from __future__ import annotations

import fcntl
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from crewq.errors import explain
from crewq.store import RunRecord, TaskRecord

log = logging.getLogger("crewq.output_log")


class NoLog(ValueError):
    """A file that is no log."""


def file_of(given: bool | str) -> Path:
    """The file that `output_log_file` means, as in CrewAI: True is logs.txt, and what is neither .txt nor .json a .txt."""
    if isinstance(given, bool):
        return Path("logs.txt")
    return Path(given if given.endswith((".txt", ".json")) else f"{given}.txt")


def append(given: bool | str, record: RunRecord) -> None:
    """Add what became of the tasks of a run that has ended. Where that fails, the log of this process says so: the output
    of the run is worth more.

    Args:
        given: `output_log_file`, which is not empty.
        record: of the run.
    """
    file = file_of(given)
    try:
        with file.open("a+", encoding="utf-8") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)  # other runs end too
            if file.suffix == ".json":
                opened.seek(0)
                known = json.loads(opened.read() or "[]")
                if not isinstance(known, list):
                    raise NoLog("it holds something else")
                text = json.dumps([*known, *_entries(record)], ensure_ascii=False, indent=4)
                opened.truncate(0)
                opened.write(f"{text}\n")
            else:
                opened.writelines(_line(entry) for entry in _entries(record))
    except (OSError, ValueError) as error:
        log.warning("the output log %s could not be written: %s", file, explain(error))


def _entries(record: RunRecord) -> list[dict[str, Any]]:
    told = [
        (moment, tell(task, moment))
        for task in record.tasks
        if not task.kept
        for moment, tell in ((task.started, _begun), (task.ended, _ended))
        if moment
    ]
    return [entry for _, entry in sorted(told, key=lambda one: one[0])]


def _begun(task: TaskRecord, moment: datetime) -> dict[str, Any]:
    output = task.output
    return {
        "timestamp": f"{moment.astimezone():%Y-%m-%d %H:%M:%S}",
        "task_name": task.name,
        "task": output.description if output else "",
        "agent": output.agent if output else "",
        "status": "started",
    }


def _ended(task: TaskRecord, moment: datetime) -> dict[str, Any]:
    said = {"output": task.output.raw} if task.output else {"error": explain(task.error)} if task.error else {}
    return {**_begun(task, moment), "status": task.state.value, **said}


def _line(entry: dict[str, Any]) -> str:
    told = ", ".join(f'{name}="{value}"' for name, value in entry.items() if name != "timestamp")
    return f"{entry['timestamp']}: {told}\n"


__all__ = ["NoLog", "append", "file_of"]
