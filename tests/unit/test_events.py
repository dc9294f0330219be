"""Events: typed, and readable by a version that does not know them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from crewq import events
from crewq.events import Event, from_stream

KINDS = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]
FIELDS: dict[str, str] = {
    "task": "2", "attempt": "3", "worker": "w", "reason": "r", "delay": "1.5", "error": '{"error": "X"}', "kind": "tool",
    "name": "n", "call": "tool:d:0", "reused": "1", "seconds": "0.25", "usage": '{"cost": 0.5}', "text": "t", "parent": "p",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_is_read_from_the_stream(kind: Any) -> None:
    (name,) = get_args(kind.model_fields["type"].annotation)
    event = from_stream("run", "1700000000123-4", {"type": name} | FIELDS)
    assert type(event) is kind
    assert (event.run, event.id, event.task) == ("run", "1700000000123-4", 2)
    assert event.at == datetime.fromtimestamp(1_700_000_000.123, tz=UTC)
    assert event.terminal == (name in ("run_completed", "run_failed", "run_cancelled"))


def test_fields_have_their_types() -> None:
    call: Any = from_stream("run", "1-0", {"type": "call_finished"} | FIELDS)
    assert (call.reused, call.seconds, call.usage.cost, call.attempt) == (True, 0.25, 0.5, 3)
    failed: Any = from_stream("run", "1-0", {"type": "run_failed"} | FIELDS)
    assert failed.error == {"error": "X"}


@pytest.mark.parametrize("fields", [{"type": "of_tomorrow", "x": "1"}, {}, {"type": "task_started", "attempt": "many"}])
def test_an_event_that_cannot_be_read_is_still_an_event(fields: dict[str, str]) -> None:
    event = from_stream("run", "5-1", fields)
    assert type(event) is Event
    assert (event.type, event.id, event.run) == (fields.get("type", "unknown"), "5-1", "run")


def test_no_kind_is_forgotten_in_what_is_public() -> None:
    assert {kind.__name__ for kind in KINDS} == set(events.__all__) - {"Event", "from_stream"}
