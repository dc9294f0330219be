"""What was spent: counted in the step that writes an answer down, and kept when its run is forgotten."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from crewq.store import Call, Cost
from crewq.terms import Terms
from tests.store.world import ONE, World, crew

DAY = 86_400
TODAY = date(2023, 11, 14)  # of the test's clock


def answer(world: World, tenant: str = "default", name: str = "demo", model: str = "gpt", **usage: Any) -> Call:
    """A run with a call that is answered."""
    run = world.accept(crew((), name=name), terms=Terms(tenant=tenant))
    one = world.call(run, attempt=world.claim(run).attempt)
    call = Call(one.job, one.attempt, "model", model, one.digest, one.ordinal)
    world.store.journal.finish(call, "an answer", usage=json.dumps(usage), seconds=0.1)
    return call


def test_calls_are_added_up_by_day_tenant_crew_and_model(world: World) -> None:
    used = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, "successful_requests": 1}
    answer(world, cost=0.1, **used)
    answer(world, cost=0.2, **used)
    answer(world, tenant="acme", name="a|b", model="x|y", cost=0.5, **used)
    answer(world, tenant="acme", name="a|b", model="free", unpriced_requests=1, **used)
    world.clock.forward(DAY)
    answer(world, cost=1.0, **used)
    assert sorted(world.store.costs.read(), key=str) == sorted(
        [
            Cost(TODAY, "default", "demo", "gpt", 2, 200, 20, 220, 0.3, 0),
            Cost(TODAY, "acme", "a|b", "x|y", 1, 100, 10, 110, 0.5, 0),
            Cost(TODAY, "acme", "a|b", "free", 1, 100, 10, 110, 0.0, 1),
            Cost(TODAY + timedelta(days=1), "default", "demo", "gpt", 1, 100, 10, 110, 1.0, 0),
        ],
        key=str,
    )
    assert [cost.cost for cost in world.store.costs.read(TODAY + timedelta(days=1))] == [1.0]


def test_an_answer_counts_once_however_often_it_is_written_down(world: World) -> None:
    call = answer(world, cost=0.1)
    world.store.journal.finish(call, "an answer", usage='{"cost": 0.1}', seconds=0.1)
    assert [(cost.calls, cost.cost) for cost in world.store.costs.read()] == [(1, 0.1)]


def test_what_is_no_call_to_a_model_costs_nothing(world: World) -> None:
    run = world.accept(ONE)
    one = world.call(run, attempt=world.claim(run).attempt)
    world.store.journal.finish(Call(one.job, one.attempt, "tool", "search", "d", 0), "found", seconds=0.1)
    assert list(world.store.costs.read()) == []


def test_costs_stay_when_their_runs_are_forgotten_and_go_after_400_days(world: World) -> None:
    call = answer(world, cost=0.1)
    world.runs.cancel(call.job.run)
    world.runs.delete(call.job.run)
    assert [cost.cost for cost in world.store.costs.read()] == [0.1]
    (key,) = [key for key in world.all_keys() if ":costs:" in key]
    assert 399 * DAY < world.client.ttl(key) <= 400 * DAY
    world.client.delete(key)
    assert list(world.store.costs.read()) == []
    world.clock.forward(401 * DAY)
    answer(world, cost=0.2)
    assert world.client.zcard("{t}:costs") == 1, "the list of days forgets them too"


@pytest.mark.parametrize("cost", [1e-9, 0.000015, 123456.789])
def test_small_and_large_sums_are_exact(world: World, cost: float) -> None:
    for _ in range(7):
        answer(world, cost=cost)
    assert [found.cost for found in world.store.costs.read()] == [pytest.approx(7 * cost, rel=1e-12)]
