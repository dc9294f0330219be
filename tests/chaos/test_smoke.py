"""A short chaos run with the faults that matter most; `./run chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.session import run

FAULTS = (
    "kill-worker-after-answer",
    "kill-worker-after-record",
    "kill-pool-child",
    "freeze-worker",
    "stop-worker-cold",
    "kill-redis",
    "fill-redis",
    "cut-connections",
    "flush-broker",
    "delete-messages",
    "double-messages",
    "sweep-and-die",
    "kill-producer",
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    report, objections = run(tmp_path, seed=1, seconds=60, workers=2, kinds=FAULTS, per_minute=40)
    assert objections == [], report
