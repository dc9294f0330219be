"""Budgets over the whole fleet: what may be spent is reserved before a call, and counted when its answer is written down."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from crewq import errors
from crewq.budgets import Budget
from crewq.store import Call, Charge, Turn
from crewq.terms import Terms
from tests.store.asker import Asker
from tests.store.world import LEASE, ONE, PAIR, World

DAY = 86_400
NOTHING = Budget()


def accept(world: World, **terms: object) -> str:
    return world.accept(ONE, terms=Terms(**terms))  # type: ignore[arg-type]


def begin(world: World, run: str, index: int = 0, digest: str = "d", lease: float = LEASE) -> Call:
    """A call of a task that a worker has just claimed."""
    return world.call(run, index, world.claim(run, index, lease=lease).attempt, digest)


def ask(world: World, call: Call, cost: float | None = None, tokens: int = 0, daily: Budget = NOTHING) -> Turn:
    return world.store.limits.reserve(call, (), Charge(cost, tokens, daily))


def pay(world: World, call: Call, cost: float = 0.0, tokens: int = 0, unpriced: int = 0) -> None:
    usage = {"cost": cost, "total_tokens": tokens, "prompt_tokens": tokens, "unpriced_requests": unpriced}
    world.store.journal.finish(call, "an answer", usage=json.dumps(usage), seconds=0.1)


def words(turns: Sequence[Turn]) -> list[str]:
    return [turn.objection.word if turn.objection else turn.word for turn in turns]


def held(world: World, run: str) -> tuple[int, int]:
    """What is reserved of a run's budget: billionths of dollars, and tokens."""
    found = world.client.hmget(f"{{t}}:run:{run}:reserved", "cost", "tokens")
    return int(found[0] or 0), int(found[1] or 0)


# -- one run -----------------------------------------------------------------------------------------------


def test_calls_go_while_what_they_may_cost_fits(world: World) -> None:
    run = accept(world, max_cost=1.0)
    attempt = world.claim(run).attempt
    calls = [world.call(run, attempt=attempt, digest=str(at)) for at in range(4)]
    turns = [ask(world, call, cost=0.4) for call in calls]
    assert words(turns) == ["go", "go", "held", "held"]
    pay(world, calls[0], cost=0.1)
    assert words([ask(world, calls[2], cost=0.4)]) == ["go"], "it cost less than was reserved"
    pay(world, calls[1], cost=0.3)
    pay(world, calls[2], cost=0.3)
    (turn,) = [ask(world, calls[3], cost=0.4)]
    assert turn.objection is not None
    facts = turn.objection.word, turn.objection.kind, turn.objection.name, turn.objection.what
    assert facts == ("over", "run", run, "cost")
    assert (turn.objection.spent, turn.objection.budget) == (0.7, 1.0)
    assert held(world, run) == (0, 0)


def test_tokens_are_a_budget_too(world: World) -> None:
    run = accept(world, max_tokens=1000)
    call = begin(world, run)
    assert words([ask(world, call, tokens=1000)]) == ["go"]
    pay(world, call, tokens=999)
    other = world.call(run, attempt=call.attempt, digest="other")
    assert words([ask(world, other, tokens=1), ask(world, other, tokens=2)]) == ["go", "over"]


def test_a_budget_is_spent_to_the_last_cent_and_no_further(world: World) -> None:
    """Sums of such fractions are not exact in floating point."""
    run = accept(world, max_cost=0.3)
    attempt = world.claim(run).attempt
    for at in range(3):
        call = world.call(run, attempt=attempt, digest=str(at))
        assert words([ask(world, call, cost=0.1)]) == ["go"]
        pay(world, call, cost=0.1)
    assert words([ask(world, world.call(run, attempt=attempt, digest="x"), cost=1e-9)]) == ["over"]


def test_a_price_that_nobody_knows_is_never_nothing(world: World) -> None:
    run = accept(world, max_cost=1.0)
    call = begin(world, run)
    assert words([ask(world, call, cost=None)]) == ["unpriced"]
    tokens_only = begin(world, accept(world, max_tokens=10))
    assert words([ask(world, tokens_only, cost=None, tokens=10)]) == ["go"]


def test_an_answer_that_does_not_say_what_it_cost_counts_as_it_was_estimated(world: World) -> None:
    run = accept(world, max_cost=1.0, max_tokens=1000)
    call = begin(world, run)
    assert ask(world, call, cost=0.8, tokens=700).word == "go"
    pay(world, call, unpriced=1)
    other = world.call(run, attempt=call.attempt, digest="other")
    assert words([ask(world, other, cost=0.3), ask(world, other, cost=0.2, tokens=301)]) == ["over", "over"]
    assert words([ask(world, other, cost=0.2, tokens=300)]) == ["go"]
    assert world.read(run).usage.cost == 0.0, "what is shown as spent is what is known"


@pytest.mark.parametrize("how", ["failed", "asked again"])
def test_a_call_that_came_to_nothing_gives_back_what_it_had_reserved(world: World, how: str) -> None:
    run = accept(world, max_cost=1.0)
    call = begin(world, run)
    assert ask(world, call, cost=0.9).word == "go"
    if how == "failed":
        world.store.journal.fail(call)
        assert held(world, run) == (0, 0)
    assert ask(world, call, cost=0.9).word == "go", "and once, however often it is tried"
    assert held(world, run) == (900_000_000, 0)


def test_who_waits_for_a_limit_reserves_nothing(world: World) -> None:
    asker = Asker(world, rpm=1)
    run = accept(world, max_cost=1.0)
    asker.ask()
    call = begin(world, run)
    assert world.store.limits.reserve(call, asker.demands, Charge(0.5, 0, NOTHING)).word == "wait"
    assert held(world, run) == (0, 0)


def test_who_is_over_budget_keeps_no_place_in_a_line(world: World) -> None:
    asker = Asker(world, rpm=1)
    run = accept(world, max_cost=1.0)
    asker.ask()
    call, other = begin(world, run), asker.begin()
    assert world.store.limits.reserve(call, asker.demands, Charge(0.5, 0, NOTHING)).word == "wait"
    world.clock.forward(60)
    assert asker.ask(other).word == "wait", "it is the first one's turn"
    assert world.store.limits.reserve(call, asker.demands, Charge(2.0, 0, NOTHING)).word == "refused"
    assert asker.ask(other).word == "go"


def test_a_call_that_is_not_let_go_is_not_under_way(world: World) -> None:
    run = accept(world, max_cost=1.0)
    call = begin(world, run)
    world.store.journal.begin(call, repeatable=False)
    assert words([ask(world, call, cost=2.0)]) == ["over"]
    world.runs.requeue(call.job, call.attempt, "why")
    assert world.store.journal.begin(begin(world, run), repeatable=False).word == "go"


# -- workers that die --------------------------------------------------------------------------------------


def test_what_a_dead_worker_had_reserved_comes_back(world: World) -> None:
    run = world.accept(PAIR, terms=Terms(max_cost=1.0))
    doomed, other = begin(world, run, 0), begin(world, run, 1, lease=3600)
    assert ask(world, doomed, cost=0.9).word == "go"
    assert words([ask(world, other, cost=0.9)]) == ["held"]
    world.clock.forward(LEASE - 1)
    assert words([ask(world, other, cost=0.9)]) == ["held"]
    world.clock.forward(2)
    assert words([ask(world, other, cost=0.9)]) == ["go"]


def test_a_late_answer_of_a_lost_attempt_counts_as_it_was_paid_for(world: World) -> None:
    run = accept(world, max_cost=1.0)
    late = begin(world, run)
    assert ask(world, late, cost=0.3).word == "go"
    world.clock.forward(LEASE + 1)
    world.sweep()
    again = begin(world, run)
    assert ask(world, again, cost=0.9).word == "go", "nothing is known of the first one any more"
    pay(world, late, cost=0.3)
    assert world.read(run).usage.cost == 0.3
    world.store.journal.fail(again)
    assert words([ask(world, world.call(run, attempt=again.attempt, digest="x"), cost=0.8)]) == ["over"]


def test_many_at_once_spend_no_more_than_there_is(world: World) -> None:
    """Twenty tasks and one budget: whatever order things happen in, all that is spent fits, as no call costs more than was
    thought."""
    chance = random.Random(5)
    batch = world.store.batches.create(world.new_id(), ONE.name, terms=Terms(max_cost=1.0))
    ids = world.runs.create(world.order(ONE, batch=batch, held=True), [world.new_run(ONE, item=at) for at in range(20)])
    world.store.batches.open(batch, 20)
    calls = [begin(world, run, digest="0", lease=3600) for run in ids]
    under_way: list[Call] = []
    made = 0
    for step in range(1, 600):
        if under_way and chance.random() < 0.4:
            ending = under_way.pop(chance.randrange(len(under_way)))
            pay(world, ending, cost=round(chance.uniform(0, 0.05), 4))
            calls.append(world.call(ending.job.run, attempt=ending.attempt, digest=str(step)))
        elif calls:
            call = calls.pop(chance.randrange(len(calls)))
            if ask(world, call, cost=0.05).word == "go":
                under_way.append(call)
                made += 1
            else:
                calls.append(call)
        spent = world.store.batches.read(batch).usage.cost
        assert spent + 0.05 * len(under_way) <= 1.0 + 1e-9
    assert spent == pytest.approx(sum(world.read(run).usage.cost for run in ids))
    assert spent > 0.95
    assert made > 20


# -- a batch -----------------------------------------------------------------------------------------------


def test_the_runs_of_a_batch_have_one_budget_together(world: World) -> None:
    batch = world.store.batches.create(world.new_id(), ONE.name, terms=Terms(max_cost=1.0))
    ids = world.runs.create(world.order(ONE, batch=batch, held=True), [world.new_run(ONE, item=at) for at in range(3)])
    world.store.batches.open(batch, 3)
    first, second, third = (begin(world, run) for run in ids)
    assert words([ask(world, call, cost=0.4) for call in (first, second, third)]) == ["go", "go", "held"]
    pay(world, first, cost=0.7)
    turn = ask(world, third, cost=0.4)
    assert turn.objection is not None
    assert (turn.objection.word, turn.objection.kind, turn.objection.name) == ("over", "batch", batch)
    assert world.runs.pause(third.job, third.attempt, "no money", budget="batch")
    record = world.store.batches.read(batch)
    assert (record.paused_for, record.usage.cost) == ("no money", 0.7)
    with pytest.raises(errors.BudgetTooSmall, match=r"batch .* has spent \$0\.7 already"):
        world.store.batches.raise_budget(batch, Budget(max_cost=0.7))
    world.store.batches.raise_budget(batch, Budget(max_cost=1.2))
    assert world.store.batches.read(batch).paused_for is None
    world.runs.resume(ids[2])
    assert ask(world, begin(world, ids[2]), cost=0.1).word == "go"
    with pytest.raises(errors.UnknownId):
        world.store.batches.raise_budget("nowhere", Budget(max_cost=1))


def test_a_claim_tells_whether_a_budget_stands_over_the_calls(world: World) -> None:
    batch = world.store.batches.create(world.new_id(), ONE.name, terms=Terms(max_tokens=5))
    ids = world.runs.create(world.order(ONE, batch=batch, held=True), [world.new_run(ONE)])
    world.store.batches.open(batch, 1)
    runs = [ids[0], accept(world, max_cost=1), accept(world, tenant="acme"), world.accept_batch(1, 1)[1][0]]
    claims = [world.claim(run) for run in runs]
    assert [claim.has_budget for claim in claims] == [True, True, False, False]
    assert [claim.tenant for claim in claims] == ["default", "default", "acme", "default"]


# -- a tenant in a day -------------------------------------------------------------------------------------


def test_a_tenant_has_a_budget_for_each_day(world: World) -> None:
    daily = Budget(max_cost=1.0)
    first, other = accept(world, tenant="acme"), accept(world, tenant="other")
    call = begin(world, first, lease=3 * DAY)
    assert ask(world, call, cost=0.8, daily=daily).word == "go"
    late = begin(world, accept(world, tenant="acme"), lease=3 * DAY)
    assert words([ask(world, late, cost=0.8, daily=daily)]) == ["held"], "runs of a tenant share its budget"
    assert ask(world, begin(world, other), cost=0.8, daily=daily).word == "go"
    pay(world, call, cost=0.8)
    turn = ask(world, late, cost=0.8, daily=daily)
    assert turn.objection is not None
    assert (turn.objection.word, turn.objection.kind, turn.objection.name) == ("over", "tenant", "acme")
    world.clock.forward(DAY)
    assert ask(world, late, cost=0.8, daily=daily).word == "go"


def test_what_a_tenant_spends_without_a_budget_counts_towards_one(world: World) -> None:
    run = accept(world, tenant="acme")
    call = begin(world, run)
    pay(world, call, cost=2.0)
    assert words([ask(world, call, cost=0.1, daily=Budget(max_cost=2.0))]) == ["over"]


def test_a_call_that_ends_on_the_next_day_gives_back_what_it_reserved_on_the_day_before(world: World) -> None:
    daily = Budget(max_cost=1.0)
    run = accept(world, tenant="acme")
    call = begin(world, run, lease=3 * DAY)
    assert ask(world, call, cost=0.9, daily=daily).word == "go"
    reserved = next(key for key in world.all_keys() if ":reserved:" in key)
    world.clock.forward(DAY)
    pay(world, call, cost=0.9)
    assert world.client.hget(reserved, "cost") == "0"


def test_a_run_paused_over_a_day_goes_on_by_itself_on_the_next(world: World) -> None:
    run = accept(world, tenant="acme")
    call = begin(world, run)
    assert world.runs.pause(call.job, call.attempt, "no money today", budget="tenant")
    assert world.read(run).state == "paused"
    world.clock.forward(DAY - world.clock.ms / 1000 % DAY - 1)
    assert world.sweep().renewed == ()
    world.clock.forward(2)
    assert world.sweep().renewed == (run,)
    assert world.sweep().renewed == (), "one sweeper is enough"
    world.clock.forward(61)
    assert world.sweep().renewed == (run,), "but it may have died"
    assert world.runs.resume(run) == (call.job,)
    world.clock.forward(61)
    assert world.sweep().renewed == ()


def test_a_run_that_was_resumed_or_ended_meanwhile_is_left_alone(world: World) -> None:
    runs = [accept(world, tenant="acme") for _ in range(3)]
    for run in runs:
        call = begin(world, run)
        world.runs.pause(call.job, call.attempt, "no money today", budget="tenant")
    world.runs.resume(runs[0])
    world.runs.cancel(runs[1])
    world.runs.cancel(runs[2])
    world.runs.delete(runs[2])
    world.clock.forward(DAY + 1)
    assert world.sweep().renewed == ()
    assert world.client.zcard("{t}:renewals") == 0


# -- more money --------------------------------------------------------------------------------------------


def test_a_paused_run_is_resumed_with_a_larger_budget(world: World) -> None:
    run = accept(world, max_cost=1.0)
    call = begin(world, run)
    assert ask(world, call, cost=0.5).word == "go"
    pay(world, call, cost=0.9)
    world.runs.pause(call.job, call.attempt, "no money", budget="run")
    assert (world.read(run).state, world.task(run).paused_for) == ("paused", "no money")
    with pytest.raises(errors.BudgetTooSmall, match=r"run .* has spent \$0\.9 already"):
        world.runs.resume(run, budget=Budget(max_cost=0.9))
    assert world.read(run).state == "paused", "it is as it was"
    assert world.runs.resume(run, budget=Budget(max_cost=2.0, max_tokens=500)) == (call.job,)
    assert world.read(run).terms == Terms(max_cost=2.0, max_tokens=500)
    again = begin(world, run)
    assert world.store.journal.begin(again, repeatable=True).word == "answer", "what was paid for is there"
    other = world.call(run, attempt=again.attempt, digest="other")
    assert words([ask(world, other, cost=1.1), ask(world, other, cost=1.0, tokens=501)]) == ["go", "over"]


def test_nothing_of_a_budget_stays_for_ever(world: World) -> None:
    batch = world.store.batches.create(world.new_id(), ONE.name, terms=Terms(max_cost=1.0, tenant="acme"))
    order = world.order(ONE, batch=batch, held=True, terms=Terms(tenant="acme"))
    ids = world.runs.create(order, [world.new_run(ONE)])
    world.store.batches.open(batch, 1)
    call = begin(world, ids[0])
    assert ask(world, call, cost=0.5, daily=Budget(max_cost=1)).word == "go"
    world.runs.pause(call.job, call.attempt, "why", budget="tenant")
    kinds = {key.split(":")[-1] for key in world.all_keys() if "reserved" in key}
    assert kinds == {"reserved", "acme"}
    assert world.immortal() == []
    world.runs.cancel(ids[0])
    world.clock.forward(8 * DAY)
    world.sweep()
    world.sweep()
    assert [key for key in world.all_keys() if ids[0] in key or batch in key] == []
