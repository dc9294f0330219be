"""Any row of bad luck: workers that crash and stall, messages that are lost, doubled and late, and people who cancel and
resume. Whatever hypothesis thinks of, the store keeps its promises, and every run ends.

CREWQ_SIMULATION=1000 tries as many rows instead of the few of an ordinary run of the tests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import fakeredis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crewq.keyring import Key
from crewq.settings import Settings
from crewq.store import Job
from tests.store.fleet import CALLS, ENDED, Fleet, Worker
from tests.store.world import DIAMOND, LEASE, ONE, PAIR, ROW, World

ROWS = int(os.environ.get("CREWQ_SIMULATION", "25"))
STEPS = 50
MOST_RUNS = 5
MOST_BATCHES = 2
Thing = TypeVar("Thing")
CREWS = st.sampled_from([ONE, ROW, DIAMOND, PAIR])


def one_of(data: st.DataObject, things: Sequence[Thing]) -> Thing:
    return things[data.draw(st.integers(0, len(things) - 1))]


class Luck(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    @initialize(keys=st.sampled_from([(), (Key("k", b"k" * 32),)]))
    def begin(self, keys: tuple[Key, ...]) -> None:
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        settings = Settings(redis_url="redis://test", namespace="t", encryption_keys=keys)
        self.fleet = Fleet(World(client, settings))
        self.fleet.kick_off(ROW)

    # -- people --------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.fleet.runs) < MOST_RUNS)
    @rule(spec=CREWS)
    def kick_off(self, spec):  # type: ignore[no-untyped-def]
        self.fleet.kick_off(spec)

    @precondition(lambda self: len(self.fleet.runs) < MOST_RUNS)
    @rule()
    def kick_off_by_key(self) -> None:
        self.fleet.kick_off(DIAMOND, key="the same")

    @precondition(lambda self: len(self.fleet.batches) < MOST_BATCHES)
    @rule(spec=CREWS, count=st.integers(0, 3), window=st.integers(1, 2), tenant=st.sampled_from(["acme", "other"]))
    def fan_out(self, spec, count, window, tenant):  # type: ignore[no-untyped-def]
        self.fleet.fan_out(spec, count, window, tenant)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.fleet.cancel(one_of(data, list(self.fleet.runs)))

    @precondition(lambda self: self.resumable())
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.fleet.resume(one_of(data, self.resumable()))

    def resumable(self) -> list[str]:
        return [run for run, state in self.fleet.seen.was.items() if state in ("failed", "cancelled")]

    # -- the broker ----------------------------------------------------------------------------------------

    def busy_lanes(self) -> list[str]:
        return [lane for lane, messages in sorted(self.fleet.lanes.items()) if messages]

    @precondition(lambda self: self.busy_lanes())
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        self.fleet.deliver(one_of(data, self.busy_lanes()))

    @precondition(lambda self: self.busy_lanes())
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        self.deliver(data)

    @precondition(lambda self: self.busy_lanes())
    @rule(data=st.data(), what=st.sampled_from(["lose", "double", "delay"]))
    def mistreat_a_message(self, data: st.DataObject, what: str) -> None:
        messages = self.fleet.lanes[one_of(data, self.busy_lanes())]
        message = messages[0]
        if what != "double":
            messages.pop(0)
        if what != "lose":
            messages.append(message)

    @rule(data=st.data())
    def send_a_stray_message(self, data: st.DataObject) -> None:
        run = one_of(data, list(self.fleet.runs))
        self.fleet.publish([Job(run, data.draw(st.integers(0, len(self.fleet.runs[run].tasks) - 1)))])

    # -- workers -------------------------------------------------------------------------------------------

    def a_worker(self, data: st.DataObject) -> Worker:
        return one_of(data, self.fleet.workers)

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data(), steps=st.integers(1, 2 * CALLS + 1))
    def work(self, data: st.DataObject, steps: int) -> None:
        worker = self.a_worker(data)
        for _ in range(steps):
            if worker in self.fleet.workers:
                self.fleet.work(worker)

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.fleet.workers.remove(self.a_worker(data))

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data())
    def stall(self, data: st.DataObject) -> None:
        worker = self.a_worker(data)
        worker.stalled = not worker.stalled

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data(), steps=st.integers(0, 2 * CALLS))
    def lose_a_task_to_another(self, data: st.DataObject, steps: int) -> None:
        """A worker is silent for too long, another takes its task and gets somewhere, and the first wakes up again."""
        self.a_worker(data).stalled = True
        self.fleet.pass_time(LEASE + 1)
        self.fleet.sweep()
        for lane in self.busy_lanes():
            while self.fleet.lanes[lane]:
                self.fleet.deliver(lane)
        for _ in range(steps):
            if self.fleet.workers:
                self.fleet.work(self.fleet.workers[-1])

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.fleet.fail(self.a_worker(data))

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 1.0, 20.0]))
    def hand_back(self, data: st.DataObject, delay: float) -> None:
        self.fleet.requeue(self.a_worker(data), delay)

    # -- time ----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 1.0, 3.0, 6.0, 20.0]), sweeps=st.integers(0, 2))
    def pass_time(self, seconds: float, sweeps: int) -> None:
        self.fleet.pass_time(seconds)
        for _ in range(sweeps):
            self.fleet.sweep()

    @invariant()
    def promises_are_kept(self) -> None:
        self.fleet.check()

    def teardown(self) -> None:
        self.fleet.live_to_the_end()
        self.fleet.check_end()
        assert {self.fleet.state(run) for run in self.fleet.runs} <= set(ENDED)
        self.fleet.check_blobs()


def test_whatever_happens_every_run_ends_and_nothing_is_paid_twice() -> None:
    run_state_machine_as_test(
        Luck,
        settings=settings(
            max_examples=ROWS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
