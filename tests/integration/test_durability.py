"""What dies on the way: producers, workers, Redis, messages. Every run ends, and no answer is paid for twice."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from crewq import LLM, Crew, Run, Task
from crewq.app import make_app
from crewq.events import CallStarted
from crewq.host import Host
from crewq.plan import publish
from crewq.producer import connect
from crewq.server import Server, join
from crewq.settings import Settings
from crewq.spool import Answer, Spool
from crewq.store import Call, Job
from crewq.sweeper import Sweeper
from crewq.testing import call
from tests.integration import crews
from tests.integration.crews import Repeat, agent, crew
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import ModelServer, calls, hang, text
from tests.waiting import until

QUICK = ("--without-gossip", "--without-mingle")
TEXTS = ("Read", "Think", "Write")


@pytest.fixture
def llm(model_server: ModelServer) -> LLM:
    return LLM(model="openai/any", base_url=model_server.url)


def prompts(server: ModelServer) -> list[str]:
    return [call.prompt.removeprefix("Your task:\n").splitlines()[0] for call in server.ledger]


def kinds(run: Run) -> Counter[str]:
    return Counter(event.type for event in run.events())


# -- producers -------------------------------------------------------------------------------------------------------

PRODUCER = """
import sys, os
from tests.integration.crews import Echo, crew
run = crew("Read {x}", "Think {x}", "Write {x}", llm=Echo(latency=0.4)).kickoff_async({"x": "on"})
print(run.id, flush=True)
run.result()
"""


def test_a_producer_killed_in_the_middle_loses_nothing(fleet: WorkerProcess) -> None:
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    with subprocess.Popen(
        [sys.executable, "-c", PRODUCER], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout
        run = Run(one.stdout.readline().strip())
        until(lambda: run.status == "running")
        one.send_signal(signal.SIGKILL)
    assert one.returncode == -signal.SIGKILL
    assert "Write on" in run.result(10).raw
    assert run.async_result.get(timeout=10) == {"run": run.id, "state": "completed"}


IMPATIENT = """
from tests.integration.crews import Echo, crew
crew("Read {x}", llm=Echo(latency=1)).kickoff({"x": "on"})
"""


def test_ctrl_c_says_how_to_come_back_and_the_run_goes_on(fleet: WorkerProcess) -> None:
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    runs = connect().store.runs
    before = runs.latest(1)
    command = [sys.executable, "-c", IMPATIENT]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as one:
        until(lambda: (found := runs.latest(1)) != before and asks(Run(found[0])))
        one.send_signal(signal.SIGINT)
        _, told = one.communicate(timeout=10)
    assert one.returncode == -signal.SIGINT
    # On a busy machine the worker may be at work before the producer waits, which then knows less.
    known = "The run goes on without you. Back to it: |The run may have been accepted before this. Back to it, if so: "
    found = re.search(f"(?:{known})crewq watch (.{{36}})\n", told)
    assert found, told
    assert Run(found[1]).result(10).raw


def asks(run: Run) -> bool:
    """Whether a worker has a call of it under way, so that its producer has nothing more to do than to wait."""
    return any(isinstance(event, CallStarted) for event in connect().store.runs.events(run.id, "0-0"))


def test_a_message_that_was_never_sent_is_sent_by_the_sweeper(
    fleet: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer died between the acceptance of the run and its message."""
    monkeypatch.setattr(connect(), "publish", lambda *_, **__: None)
    run = crew(*TEXTS).kickoff_async()
    assert run.result(20).raw
    assert kinds(run)["task_started"] == 3


# -- messages --------------------------------------------------------------------------------------------------------


def test_a_doubled_message_is_worked_on_once(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    work = crew(*TEXTS, llm=llm)
    run = work.kickoff_async()
    producer = connect()
    spec = work.spec()
    for _ in range(3):
        for at in range(3):
            publish(producer.app, spec, [Job(run.id, at)])
    assert run.result(10).raw
    for at in range(3):
        publish(producer.app, spec, [Job(run.id, at)])
    assert crew("Another").kickoff().raw, "what was sent before it has been taken"
    assert prompts(model_server) == list(TEXTS)
    assert kinds(run) == {
        **dict.fromkeys(("run_queued", "run_started", "run_completed"), 1),
        **dict.fromkeys(("task_started", "task_completed", "call_started", "call_finished"), 3),
    }


def test_messages_about_nothing_harm_nobody(fleet: WorkerProcess) -> None:
    app = connect().app
    for args in ([], ["no-such-run", 0], ["no-such-run", "one"], [None, None], ["x"] * 9, [{"a": 1}, -1]):
        app.send_task("crewq.task", args=args, queue="crewq")
    app.send_task("os.system", args=["true"], queue="crewq")
    assert crew("Still here").kickoff().raw


# -- workers ---------------------------------------------------------------------------------------------------------


class Shift:
    """One worker at a time on a Redis of its own; when it is to go, the next one is already on its way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.server = join(folder / "redis")
        self.worker: WorkerProcess | None = None

    def begin(self) -> WorkerProcess:
        """See that a worker is there."""
        self.worker = self.worker or self._next()
        return self.worker.ready()

    def end(self, how: Callable[[WorkerProcess], None]) -> WorkerProcess:
        """End it, and start the next one."""
        assert self.worker
        ended = self.worker
        how(ended)
        self.worker = self._next()
        return ended

    def _next(self) -> WorkerProcess:
        return WorkerProcess(self.folder, self.server.url, *QUICK, app="tests.integration.hasty_app")

    def close(self) -> None:
        if self.worker:
            self.worker.kill()
        self.server.close()


@pytest.fixture(scope="module")
def one_shift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shift]:
    shift = Shift(tmp_path_factory.mktemp("shift"))
    yield shift
    shift.close()


@pytest.fixture
def shift(one_shift: Shift, producer_of: Callable[[str], None]) -> Shift:
    producer_of(one_shift.server.url)
    return one_shift


def test_messages_that_the_broker_lost_are_sent_again(shift: Shift) -> None:
    batch = crew(*TEXTS).kickoff_for_each_async([{"x": n} for n in range(5)])
    with redis.Redis.from_url(shift.server.url, decode_responses=True) as client:
        queues = list(client.scan_iter("crewq*", _type="list"))  # Celery's, one for each priority
        assert sum(client.llen(name) for name in queues) == 5
        client.delete(*queues)
    shift.begin()
    assert len(batch.results(30)) == 5
    assert all(kinds(run)["task_started"] == 3 for run in batch.runs)


def test_a_worker_killed_with_all_its_work(
    shift: Shift, model_server: ModelServer, llm: LLM, caplog: pytest.LogCaptureFixture
) -> None:
    shift.begin()
    model_server.enqueue("Read it.", hang())
    in_model = crew(*TEXTS, llm=llm).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 2)
    model_server.enqueue(calls(("add", {"left": 1, "right": 2})), hang())
    after_tool = Crew(tasks=[Task(description="Add", agent=agent(llm, tools=[crews.add]))]).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 4)
    payer = agent(Repeat(asked=call("pay", amount=5)), tools=[crews.pay])
    in_tool = Crew(tasks=[Task(description="Pay", agent=payer)]).kickoff_async()
    until(lambda: shift.notes.read_text().endswith("pay 5\n"))

    shift.end(WorkerProcess.kill)

    assert in_model.result(30).token_usage.successful_requests == 3
    assert [task.repeated for task in in_model.tasks] == [0, 1, 0]
    assert [task.attempt for task in in_model.tasks] == [1, 2, 1]
    assert [event.reason for event in in_model.events() if event.type == "task_requeued"] == ["crashed"]
    assert after_tool.result(30).raw
    assert Counter(prompts(model_server)) == {"Read": 1, "Think": 2, "Write": 1, "Add": 3}, "only those in flight"
    assert [made.status for made in model_server.ledger[:4]] == [200, None, 200, None]
    until(lambda: in_tool.status == "paused")  # nobody knows whether the tool, not idempotent, had its effect
    assert shift.notes.read_text() == "add 1 2\npay 5\n", "no tool is called again"
    waiting = threading.Thread(target=in_tool.result)
    waiting.start()  # as a kickoff does
    until(lambda: f"the run {in_tool.id} is paused. The worker died while the tool 'pay'" in caplog.text)
    assert f"`crewq resume {in_tool.id} --retry-call`" in caplog.text
    in_tool.resume(call_in_doubt="skip")
    waiting.join(30)
    assert in_tool.status == "completed"
    assert caplog.text.count("is paused.") == 1


def test_a_worker_told_to_stop(shift: Shift, model_server: ModelServer, llm: LLM) -> None:
    shift.begin()
    model_server.enqueue("Read it.", hang())
    long = crew(*TEXTS, llm=llm).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 2)
    model_server.enqueue(replace(text("Heard it."), latency=0.6))
    short = crew("Hear", "Answer", llm=llm).kickoff_async()
    model_server.ledger.wait_for(lambda made: len(made) == 3)

    stopped = shift.end(WorkerProcess.terminate)

    assert stopped.exit_status() == 0, stopped.log
    assert [made.status for made in model_server.ledger[:3]] == [200, None, 200], "ended in time, or aborted"
    assert short.result(30).raw
    assert long.result(30).raw
    assert Counter(prompts(model_server)) == {"Read": 1, "Think": 2, "Write": 1, "Hear": 1, "Answer": 1}
    assert kinds(short)["task_requeued"] == 0
    reasons = [event.reason for event in long.events() if event.type == "task_requeued"]
    assert reasons == ["handed back by a worker that stops"]
    assert "Traceback" not in stopped.log


# -- Redis -----------------------------------------------------------------------------------------------------------


def kill_redis(folder: Path) -> None:
    about = json.loads((folder / "redis" / "server.json").read_text())
    os.kill(about["pid"], signal.SIGKILL)
    with socket.socket() as probe:
        until(lambda: probe.connect_ex(("127.0.0.1", about["port"])) != 0 or probe.close())


def test_redis_killed_and_started_again_in_a_run(shift: Shift, model_server: ModelServer, llm: LLM) -> None:
    shift.begin()
    model_server.enqueue("Read it.", replace(text("Thought."), latency=1.0))
    run = crew(*TEXTS, llm=llm).kickoff_async()
    waiting = ThreadPoolExecutor(1).submit(run.result, 60)
    model_server.ledger.wait_for(lambda made: len(made) == 2)
    kill_redis(shift.folder)
    model_server.ledger.wait_for(lambda made: made[1].ended is not None)
    with join(shift.folder / "redis"):
        assert waiting.result(60).raw
        assert run.status == "completed"
        assert prompts(model_server) == list(TEXTS), "the answer that came while Redis was away is kept"
        assert crew("Afterwards").kickoff(timeout=20).raw


def test_an_answer_that_a_dead_worker_left_on_disk_is_written_down_by_a_sweep(
    own_redis: Server, tmp_path: Path
) -> None:
    """Before the lease of its task has run out, so nobody asks for it again: as when a child of a pool is killed."""
    settings = Settings(redis_url=own_redis.url, data_dir=tmp_path)
    run = crew("Read", llm=LLM(model="openai/any")).kickoff_async()
    with closing(Host(settings, make_app(settings)).start()) as host:
        attempt = host.store.runs.start(Job(run.id, 0), claim="c", worker="dead", lease=60).attempt
        call = Call(Job(run.id, 0), attempt, "model", "any", "digest", 0)
        host.store.journal.begin(call, repeatable=True)
        dead = Spool(tmp_path / "spool")
        dead.holding(Answer(call, "paid", "", 1.0)).__enter__()
        os.close(dead._lock)
        Sweeper(host, lambda: 1).sweep()
        assert host.store.journal.find(call) == "paid"
    run.cancel()
