"""What the report counts as a recovery that no other fault disturbed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from crewq.events import TaskRequeued, TaskStarted
from tests.chaos import evidence as facts
from tests.chaos.evidence import Cut, Evidence
from tests.chaos.report import recoveries
from tests.chaos.scene import DEAD, KEYS, Scene

DEATH, BACK = 1000.0, 1004.0  # of the worker `w:1`, and when its task was started again


@pytest.fixture
def crashed(redis_url: str) -> Evidence:
    """A run whose first task was held by a worker that died, and was started by another one."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        scene = Scene(client)
        run = facts.run_facts(scene.world.store, scene.accept("one"))
    events = (
        TaskStarted(id=f"{DEATH - 1:.0f}000-0", task=0, attempt=1, worker="w:1"),
        TaskRequeued(id=f"{BACK - 1:.0f}000-0", task=0, attempt=1, reason="crashed"),
        TaskStarted(id=f"{BACK:.0f}000-0", task=0, attempt=2, worker="w:2"),
    )
    cut = Cut(KEYS["1"], DEATH, DEAD, "killed")
    return Evidence(workers=KEYS, runs=(replace(run, events=events),), cuts=(cut,), lease=3.0)


def test_a_recovery_is_told_with_its_seconds(crashed: Evidence) -> None:
    (one,) = recoveries(crashed)
    assert (one.task, one.seconds, one.disturbed) == ("one/t0", BACK - DEATH, False)


@pytest.mark.parametrize(
    ("begin", "end", "why", "disturbed"),
    [
        pytest.param(DEATH - 4.9, DEAD, "died", True, id="those of one that died before come back, too"),
        pytest.param(DEATH - 4.9, DEAD, "stopped", True, id="likewise, of one that was stopped"),
        pytest.param(DEATH - 5.1, DEAD, "died", False, id="those of one that died long before are back"),
        pytest.param(DEATH - 60, DEATH + 1, "frozen", True, id="one that was frozen was still away"),
        pytest.param(DEATH - 60, DEATH - 1, "frozen", False, id="one that was frozen was back"),
        pytest.param(BACK + 0.1, DEAD, "died", False, id="one died when all was over"),
    ],
)
def test_what_disturbs_a_recovery(crashed: Evidence, begin: float, end: float, why: str, disturbed: bool) -> None:
    another = Cut(KEYS["2"], begin, end, why)
    (one,) = recoveries(replace(crashed, cuts=(*crashed.cuts, another)))
    assert one.disturbed == disturbed
