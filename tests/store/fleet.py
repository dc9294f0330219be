"""A broker that loses, doubles and reorders messages, and workers that crash and stall, in virtual time; and everything
that the store has promised about them, checked as they go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from crewq import errors
from crewq.plan import new_tasks, next_in_chain
from crewq.spec import CrewSpec
from crewq.store import Call, Job
from crewq.store.keys import UNFINISHED
from crewq.store.vault import LONG
from tests.store.world import GRACE, LEASE, MAX_ATTEMPTS, TERMINAL, World, output

ENDED = ("completed", "failed", "cancelled")
CALLS = 2  # that each task makes
PADDING = " and so on" * (LONG // 10)  # makes a text a long one, which has a blob


@dataclass
class Message:
    """A job, or a probe with the time it was sent."""

    job: Job | None
    probe: int = 0


@dataclass
class Worker:
    """Who works on a task. One that stalls does not renew its lease, and goes on later all the same."""

    job: Job
    attempt: int
    lease_until: int
    done: int = 0  # calls
    asking: Call | None = None
    stalled: bool = False

    def next_call(self) -> Call:
        return Call(self.job, self.attempt, "model", "m", f"d{self.done}", 0)


@dataclass
class Seen:
    """What was seen to happen: the promises are checked against it."""

    answers: dict[tuple[Job, str], str] = field(default_factory=dict)
    made: Counter[tuple[Job, str]] = field(default_factory=Counter)
    recorded: dict[Job, str] = field(default_factory=dict)
    owners: dict[Job, Worker] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    was: dict[str, str] = field(default_factory=dict)


class Fleet:
    """Some crews, a broker and any number of workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: dict[str, CrewSpec] = {}
        self.batches: dict[str, list[str]] = {}
        self.lanes: dict[str, list[Message]] = defaultdict(list)
        self.workers: list[Worker] = []
        self.seen = Seen()
        world.runs.present("w1", {"concurrency": 1})  # so that the runs of batches wait for each other

    # -- producers -----------------------------------------------------------------------------------------

    def kick_off(self, spec: CrewSpec, key: str = "") -> None:
        run = self.world.accept(spec, key=key, fingerprint=key and spec.digest())
        known = run in self.runs
        assert not known or key, "only a key gives a run that was there before"
        self.runs[run] = spec
        if not known:
            self.publish(Job(run, at) for at, task in enumerate(spec.tasks) if not task.after)

    def fan_out(self, spec: CrewSpec, count: int, window: int, tenant: str) -> None:
        batch, ids, jobs = self.world.accept_batch(count, window, spec, tenant=tenant)
        self.batches[batch] = ids
        self.runs |= dict.fromkeys(ids, spec)
        self.publish(jobs)

    def cancel(self, run: str) -> None:
        ended = self.state(run) in ENDED
        cancelled, ready = self.world.runs.cancel(run)
        assert cancelled != ended
        self.release(run)
        self.publish(ready)

    def resume(self, run: str) -> None:
        assert self.state(run) in ("failed", "cancelled")
        self.publish(self.world.runs.resume(run))
        assert self.state(run) == "running"

    def state(self, run: str) -> str:
        return self.world.runs.state(run) or "gone"

    # -- the broker ----------------------------------------------------------------------------------------

    def publish(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self.lanes[self.lane_of(job)].append(Message(job))

    def lane_of(self, job: Job) -> str:
        batch = any(job.run in ids for ids in self.batches.values())
        return new_tasks(self.runs[job.run], batch=batch)[job.index].lane

    def deliver(self, lane: str) -> None:
        """The first message of a lane comes to a free worker."""
        message = self.lanes[lane].pop(0)
        if message.job is None:
            self.world.runs.note_delivery(lane, message.probe)
        else:
            self.take_up(message.job)

    def sweep(self) -> None:
        found = self.world.sweep()
        self.publish([*found.jobs, *found.new])
        for lane, sent in found.probes:
            self.lanes[lane].append(Message(None, sent))
        for run in found.unsaid:
            assert self.state(run) in ENDED
            self.world.runs.said(run)

    # -- workers -------------------------------------------------------------------------------------------

    def take_up(self, job: Job) -> None:
        claim = self.world.claim(job.run, job.index)
        if claim.word == "done":
            self.go_on(job)
        if claim.word != "yours":
            return
        self.publish(claim.ready)
        assert all(Job(job.run, other) in self.seen.recorded for other in self.runs[job.run].tasks[job.index].after)
        assert {at: given.raw for at, given in claim.context.items()} == {
            at: self.seen.recorded[Job(job.run, at)] for at in self.runs[job.run].tasks[job.index].context
        }
        owner = self.seen.owners.get(job)
        assert owner is None or owner.lease_until <= self.world.clock.ms, "two live owners"
        worker = Worker(job, claim.attempt, self.world.clock.ms + int(LEASE * 1000))
        self.seen.owners[job] = worker
        self.workers.append(worker)

    def go_on(self, job: Job, ready: tuple[Job, ...] = ()) -> None:
        """What a job does at its good end: Celery sends the next of the chain, and it publishes what else is ready."""
        following = next_in_chain(self.runs[job.run], job.index)
        if following is not None:
            self.publish([Job(job.run, following)])
        self.publish(other for other in ready if other != Job(job.run, -1 if following is None else following))

    def begin_call(self, worker: Worker) -> None:
        call = worker.next_call()
        finding = self.world.store.journal.begin(call, repeatable=True)
        about = (call.job, call.id)
        if finding.word == "answer":
            assert self.seen.answers[about] == finding.answer
            worker.done += 1
        elif finding.word == "go":
            assert about not in self.seen.answers, "a finished call is made again"
            assert self.state(call.job.run) == "running"
            self.seen.made[about] += 1
            worker.asking = call
        else:
            assert finding.word == "stop"
            self.workers.remove(worker)

    def finish_call(self, worker: Worker) -> None:
        assert worker.asking is not None
        about = (worker.job, worker.asking.id)
        given = f"{worker.asking.id} of {worker.attempt}" + PADDING * (worker.done % 2)
        stands = self.world.store.journal.finish(worker.asking, given, usage='{"total_tokens": 1}', seconds=0.1)
        assert stands == self.seen.answers.setdefault(about, given)
        worker.asking = None
        worker.done += 1

    def complete(self, worker: Worker) -> None:
        text = f"by {worker.attempt}" + PADDING * (worker.job.index % 2)
        ending = self.world.runs.complete(worker.job, worker.attempt, output(text))
        self.workers.remove(worker)
        assert ending.word in ("recorded", "refused")
        if ending.word == "recorded":
            assert worker.job not in self.seen.recorded, "recorded twice"
            assert self.seen.owners[worker.job] is worker, "recorded by who does not own it"
            self.seen.recorded[worker.job] = text
            self.let_go(worker)
            self.go_on(worker.job, ending.ready) if ending.ready else None

    def fail(self, worker: Worker) -> None:
        ending = self.world.runs.fail(worker.job, worker.attempt, errors.JobBroken(reason="boom"))
        self.workers.remove(worker)
        if ending.word == "recorded":
            self.let_go(worker)
            self.publish(ending.ready)

    def requeue(self, worker: Worker, delay: float) -> None:
        self.workers.remove(worker)
        if self.world.runs.requeue(worker.job, worker.attempt, "why", delay=delay, counts=delay > 0):
            self.let_go(worker)

    def let_go(self, worker: Worker) -> None:
        assert self.seen.owners.pop(worker.job) is worker

    def release(self, run: str) -> None:
        for job in [job for job in self.seen.owners if job.run == run]:
            del self.seen.owners[job]

    def pass_time(self, seconds: float) -> None:
        """Time passes, and whoever is awake gives signs of life."""
        while seconds > 0:
            self.world.clock.forward(min(seconds, LEASE / 3))
            seconds -= LEASE / 3
            awake = {(worker.job, worker.attempt): worker for worker in self.workers if not worker.stalled}
            refused = self.world.runs.renew(awake, LEASE)
            for about, worker in awake.items():
                if about in refused:
                    self.workers.remove(worker)
                else:
                    worker.lease_until = self.world.clock.ms + int(LEASE * 1000)

    # -- the promises --------------------------------------------------------------------------------------

    def check(self) -> None:
        """What must hold at every moment."""
        states = {run: self.state(run) for run in self.runs}
        for run, state in states.items():
            before = self.seen.was.get(run)
            if state in ENDED and before not in ENDED:
                self.seen.ends[run] += 1
                self.release(run)
            self.seen.was[run] = state
        for batch, ids in self.batches.items():
            record = self.world.store.batches.read(batch)
            counted = Counter(states[run] for run in ids if states[run] in ENDED)
            found = {state: getattr(record, state) for state in ENDED}
            assert found == {state: counted[state] for state in ENDED}
            assert (record.ended is not None) == (record.done == record.total == len(ids))

    def live_to_the_end(self) -> None:
        """No more bad luck: whoever still works does it well, and nothing may be stuck."""
        self.workers = [worker for worker in self.workers if not worker.stalled]
        for step in range(400):
            if all(self.state(run) in ENDED for run in self.runs):
                return
            for worker in list(self.workers):
                self.work(worker)
            for lane in list(self.lanes):
                while self.lanes[lane]:
                    self.deliver(lane)
            self.sweep()
            self.pass_time(1 if step < 100 else 60)  # probes that were lost come back later and later
            self.check()
        stuck = {run: self.world.states(run) for run in self.runs if self.state(run) not in ENDED}
        raise AssertionError(f"stuck: {stuck}")

    def work(self, worker: Worker) -> None:
        """One step of honest work."""
        if worker.asking:
            self.finish_call(worker)
        elif worker.done < CALLS:
            self.begin_call(worker)
        else:
            self.complete(worker)

    def check_end(self) -> None:
        """What must hold once all runs have ended."""
        for run in self.runs:
            record = self.world.read(run)
            kinds = self.world.events(run)
            assert sum(kind in TERMINAL for kind in kinds) == self.seen.ends[run]
            for task in record.tasks:
                job = Job(run, task.index)
                assert (task.output and task.output.raw) == self.seen.recorded.get(job)
                made = [times for (other, _), times in self.seen.made.items() if other == job]
                assert task.repeated == sum(made) - len(made)
                assert task.attempt == 0 or kinds.count("task_started") >= task.attempt
            answers = [about for about in self.seen.answers if about[0].run == run]
            assert record.usage.total_tokens == len(answers)
            if record.state == "completed":
                assert all(Job(run, task.index) in self.seen.recorded for task in record.tasks)
        self.world.clock.forward(GRACE + 1)
        found = self.world.sweep(MAX_ATTEMPTS)
        assert (found.jobs, found.probes) == ((), ())
        prefix = "{t}:"
        left = ["leases", "due", *(f"ready:{lane}" for lane in self.lanes), "line:crewq"]
        assert [name for name in left if self.world.client.zcard(prefix + name)] == []
        assert self.world.immortal() == []

    def check_blobs(self) -> None:
        """Each long text counts the runs that have it, and none is left when all runs are forgotten."""
        client = self.world.client
        held = Counter(digest for run in self.runs for digest in client.smembers(f"{{t}}:run:{run}:blobs"))
        counted = {key.rpartition(":")[2]: int(client.hget(key, "runs")) for key in client.scan_iter("{t}:blob:*")}
        assert counted == held
        self.world.clock.forward(UNFINISHED + 1)
        self.world.sweep()
        assert [key for key in self.world.all_keys() if "blob" in key] == []
