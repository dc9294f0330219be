"""Who interrupts a kickoff while it starts is told where to find what was accepted, and nothing else is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crewq import Batch, Run
from crewq.fanout import CHUNK
from crewq.producer import connect
from tests.integration.crews import crew
from tests.integration.worker_process import WorkerProcess


def interrupted_once_accepted(monkeypatch: pytest.MonkeyPatch, ways: str) -> None:
    """Press Ctrl-C when a run, or the runs of a batch, have just been handed over."""
    producer = connect()
    publish = getattr(producer, ways)

    def publish_and_press(*args: Any, **kwargs: Any) -> None:
        publish(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(producer, ways, publish_and_press)


@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "replay"])
def test_who_interrupts_the_start_of_a_run_is_told_where_to_look(
    fleet: WorkerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    work = crew("Say {x}")
    given = Run(work.kickoff({"x": 1}).run_id).task_ids[0] if way == "replay" else {"x": 1}
    with monkeypatch.context() as patched:
        interrupted_once_accepted(patched, "publish")
        with pytest.raises(KeyboardInterrupt):
            getattr(work, way)(given)
    told = capsys.readouterr().err
    assert "The run may have been accepted" in told
    assert "Say 1" in Run(told.partition("crewq watch ")[2].strip()).result(20).raw


def test_who_interrupts_the_start_of_a_batch_is_told_where_to_look(
    fleet: WorkerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        interrupted_once_accepted(patched, "publish_any")
        with pytest.raises(KeyboardInterrupt):
            crew("Say {x}").kickoff_for_each([{"x": 1}, {"x": 2}])
    told = capsys.readouterr().err
    assert "The batch may have been accepted" in told
    assert len(Batch(told.partition("crewq watch ")[2].strip()).results(20)) == 2


def test_a_batch_that_is_interrupted_half_way_is_forgotten(nothing_started: None) -> None:
    def given() -> Iterator[dict[str, int]]:
        yield from ({"x": at} for at in range(CHUNK))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew("Say {x}").kickoff_for_each(given())
