"""What a verbose kickoff tells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crewq.events import (
    CallFinished,
    CallStarted,
    Event,
    RunCompleted,
    TaskCompleted,
    TaskFailed,
    TaskRequeued,
    TaskSkipped,
    TaskStarted,
    TaskWarned,
)
from crewq.outputs import TaskOutput, UsageMetrics
from crewq.terminal import Teller

RUN: Any = SimpleNamespace(
    tasks=[
        SimpleNamespace(name="look", output=TaskOutput(raw="Bees\ndance.", agent="Scholar")),
        SimpleNamespace(name="write", output=None),
    ]
)
ABOUT: dict[str, Any] = {"task": 0, "attempt": 1}
CALL: dict[str, Any] = {**ABOUT, "call": "c", "seconds": 1.26}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (TaskStarted(**ABOUT, worker="w"), ["task 1/2 look: begun"]),
        (TaskStarted(task=0, attempt=2, worker="w"), ["task 1/2 look: begun again, attempt 2"]),
        (CallStarted(**ABOUT, kind="tool", name="search", call="c"), []),
        (CallFinished(**CALL, kind="tool", name="search"), ["task 1/2 look: tool search was used (1.3 s)"]),
        (
            CallFinished(**CALL, kind="model", name="m").model_copy(update={"usage": UsageMetrics(total_tokens=1234)}),
            ["task 1/2 look: model m answered (1.3 s, 1,234 tokens)"],
        ),
        (
            CallFinished(**CALL, kind="model", name="m", reused=True),
            ["task 1/2 look: model m answered (kept from before)"],
        ),
        (TaskCompleted(**ABOUT), ["task 1/2 look: completed by Scholar", "    Bees", "    dance."]),
        (TaskRequeued(**ABOUT, reason="its worker died"), ["task 1/2 look: requeued: its worker died"]),
        (TaskWarned(task=0, reason="a callback failed"), ["task 1/2 look: warned: a callback failed"]),
        (TaskFailed(**ABOUT, error="{}"), ["task 1/2 look: failed"]),
        (TaskSkipped(task=0), ["task 1/2 look: skipped"]),
        (TaskCompleted(task=1, attempt=1), []),
        (RunCompleted(), []),
    ],
)
def test_what_is_told_of_an_event(event: Event, told: list[str]) -> None:
    assert list(Teller(RUN, [0]).lines(event)) == told
