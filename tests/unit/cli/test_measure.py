"""What several runs come to: medians and the slow end, and what one run used on average."""

from __future__ import annotations

import pytest

from crewq.cli.measure import Measure, Seconds
from crewq.outputs import UsageMetrics


@pytest.mark.parametrize(
    ("took", "median", "p95"),
    [
        ([2.0], 2.0, 2.0),
        ([1.0, None, 3.0], 2.0, 3.0),
        ([float(at) for at in range(1, 21)], 10.5, 19.0),
        ([float(at) for at in range(1, 101)], 50.5, 95.0),
    ],
)
def test_all_but_one_in_twenty_stay_below(took: list[float | None], median: float, p95: float) -> None:
    assert Seconds.of(took) == Seconds(median, p95)


def test_what_was_never_done_took_no_time() -> None:
    assert Seconds.of([None]) is None


def test_an_unknown_price_is_not_nothing() -> None:
    usage = UsageMetrics(total_tokens=30, successful_requests=3, unpriced_requests=3)
    facts = Measure("t", "A", 1, None, usage).facts(runs=2)
    assert facts["cost_per_run"] is None
    assert (facts["pass_rate"], facts["calls_per_run"], facts["tokens_per_run"]) == (0.5, 1.5, 15.0)
    partly = usage.model_copy(update={"cost": 0.5, "unpriced_requests": 1})
    assert Measure("t", "A", 1, None, partly).facts(runs=2)["cost_per_run"] == 0.25
