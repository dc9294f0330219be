"""With keys, on a real worker: crews run, stream, are replayed, resumed and fanned out as ever, and Redis and its files hold
nothing of what they were about."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis

from crewq import Crew, Run, Task, errors
from crewq.app import TASK_JOB, make_app
from crewq.events import Token
from crewq.keyring import new_key, read_keys
from crewq.producer import disconnect
from crewq.server import Server
from crewq.settings import Settings
from crewq.store import Store
from crewq.testing import call
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, agent, scripted
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.waiting import until

SECRET = "marzipan"
LONG_SECRET = f"{SECRET}, and so on. " * 4_000
VARIABLE = "CREWQ_ENCRYPTION_KEYS"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, own_redis: Server) -> str:
    """A key, of this process and of whom it is given to."""
    made = new_key("first")
    monkeypatch.setenv(VARIABLE, made)
    return made


@pytest.fixture
def worker(own_redis: Server, keys: str, start_worker: StartWorker) -> WorkerProcess:
    return start_worker(own_redis.url, **{VARIABLE: keys}).ready()


def written(folder: Path) -> bytes:
    """All that Redis was ever told, messages too."""
    files = list((folder / "redis" / "appendonlydir").iterdir())
    assert any(".incr." in file.name for file in files)
    return b"\n".join(file.read_bytes() for file in files)


def secretive() -> Crew:
    """A crew that has the secret in its prompts, and uses tools, whose results are shared, short and long."""
    writer = agent(Echo(), role=f"Keeper of {SECRET}", backstory=f"You know {SECRET}.")
    caller = agent(
        scripted(
            call("read_aloud", pages=40),
            call("broken", reason=SECRET),
            call("draw_once", name=SECRET),
            f"It is {SECRET}.",
        )
    )
    caller.tools = [crews.read_aloud, crews.broken, crews.draw_once]
    return Crew(
        name="secretive",
        stream=False,
        cache=True,
        tasks=[
            Task(name="say", description="Say {x}.", expected_output=SECRET, agent=writer, callback=crews.failing),
            Task(name="use", description=f"Use {SECRET}.", agent=caller),
            Task(description=f"Tell of {SECRET} and of nothing else.", agent=writer),
        ],
    )


@pytest.mark.parametrize("text", [SECRET, LONG_SECRET], ids=["short", "long"])
def test_a_crew_runs_and_nothing_of_it_is_in_redis_or_its_files(
    worker: WorkerProcess, tmp_path: Path, text: str
) -> None:
    work = secretive()
    output = work.kickoff({"x": text})
    run = Run(output.run_id)
    record = run.record()
    assert [task.state.value for task in record.tasks] == ["completed"] * 3
    assert record.tasks[1].output is not None
    assert record.tasks[1].output.raw == f"It is {SECRET}."
    assert record.inputs == {"x": text}
    assert any(event.type == "task_warned" for event in run.events())
    again = work.replay(run.task_ids[2])
    assert Run(again.run_id).record().tasks[1].output == record.tasks[1].output
    batch = work.kickoff_for_each([{"x": f"{at} {text}"} for at in range(3)])
    assert len(batch) == 3
    failing = Crew(tasks=[Task(description="Fail over {x}.", agent=agent(Echo(poison=SECRET), max_retry_limit=1))])
    with pytest.raises(errors.RunFailed, match="poisoned"):
        failing.kickoff({"x": text})
    told = written(tmp_path)
    assert run.id.encode() in told, "it is really looked at"
    assert SECRET.encode() not in told
    assert b"Tell of" not in told, "a task without a name is called by its number"


def test_what_is_streamed_is_encrypted_too(worker: WorkerProcess, tmp_path: Path) -> None:
    work = Crew(tasks=[Task(description="Say {x}.", agent=agent(Echo(), role=f"Keeper of {SECRET}"))], stream=True)
    stream = work.kickoff({"x": SECRET})
    said = "".join(chunk.content for chunk in stream)
    run = Run(stream.result.run_id)
    tokens = [event for event in run.events() if isinstance(event, Token)]
    assert SECRET in said
    assert SECRET in "".join(token.text for token in tokens)
    assert tokens[0].agent == f"Keeper of {SECRET}"
    assert SECRET.encode() not in written(tmp_path)


def test_a_forged_run_fails_before_anything_is_done(own_redis: Server, keys: str, start_worker: StartWorker) -> None:
    """With another's inputs, with plain ones, with an answer that nobody gave, and with a crew of its own."""
    work = Crew(tasks=[Task(description="Say {x}.", agent=agent(Echo()))])
    swapped, plain, sound, other = (work.kickoff_async({"x": name}) for name in ("swapped", "plain", "sound", "other"))
    recrewed = Crew(tasks=[Task(description="Ask {x}.", agent=agent(Echo()))]).kickoff_async({"x": "recrewed"})
    with redis.Redis.from_url(own_redis.url, decode_responses=True) as client:
        key = "{{crewq}}:run:{}".format
        client.hset(key(swapped.id), "inputs", str(client.hget(key(other.id), "inputs")))
        client.hset(key(plain.id), "inputs", '{"x": "forged"}')
        client.hset(key(recrewed.id), "spec", str(client.hget(key(sound.id), "spec")))
    start_worker(own_redis.url, **{VARIABLE: keys}).ready()
    assert "sound" in sound.result(30).raw
    store = Store(Settings(redis_url=own_redis.url, encryption_keys=read_keys(keys, VARIABLE)))
    with redis.Redis.from_url(own_redis.url, decode_responses=True) as client:
        for run, why in (
            (swapped, "not encrypted for that place"),
            (plain, "is not encrypted"),
            (recrewed, "of the crew"),
        ):
            with pytest.raises(errors.CrewqError):
                run.result(30)
            assert client.hget(key(run.id), "state") == "failed"
            assert why in store.open(f"run:{run.id} error", str(client.hget(key(run.id), "error")))
            assert client.hkeys(f"{key(run.id)}:journal") == [], "no model was asked"
    store.close()


def test_keys_are_exchanged_while_a_run_is_under_way(
    own_redis: Server, keys: str, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was paid for before is found by a worker that encrypts with another key."""
    first = start_worker(own_redis.url, **{VARIABLE: keys}).ready()
    caller = agent(scripted(call("add", left=1, right=2), call("pay", amount=3), "Done."))
    caller.tools = [crews.add, crews.pay]
    run = Crew(tasks=[Task(description="Add and pay.", agent=caller)]).kickoff_async()
    for event in run.events():
        if event.type == "call_started" and event.name == "pay":  # type: ignore[attr-defined]
            break
    first.kill()
    both = f"{new_key('second')},{keys}"
    disconnect()
    monkeypatch.setenv(VARIABLE, both)
    start_worker(own_redis.url, **{VARIABLE: both}).ready()
    run = Run(run.id)
    with pytest.raises(errors.StillPaused):
        run.result(20)
    assert run.resume(call_in_doubt="skip").result(30).raw == "Done."
    assert run.record().usage.successful_requests == 3, "no answer was asked for twice"


def test_who_has_no_key_is_told_which_setting_it_is(worker: WorkerProcess, own_redis: Server) -> None:
    run = secretive().kickoff({"x": SECRET}).run_id
    for command in (["show", run], ["export", run], ["log-tasks-outputs"]):
        env = environment(CREWQ_REDIS_URL=own_redis.url)
        done = subprocess.run(
            [sys.executable, "-m", "crewq", *command], cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert "CREWQ_ENCRYPTION_KEYS" in done.stderr
        assert "'first'" in done.stderr
        assert "Traceback" not in done.stderr


def only_who_has_a_key_is_heard(worker: WorkerProcess, here: Settings, keys: str) -> None:
    """Send a message and a command without a key, and ask with it."""
    with (
        closing(make_app(here)) as stranger,
        closing(make_app(here.with_(encryption_keys=read_keys(keys, VARIABLE)))) as friend,
    ):
        stranger.send_task(TASK_JOB, args=["00000000-0000-4000-8000-000000000000", 0])
        stranger.control.shutdown()
        until(lambda: worker.log.count("no authentication code") == 2, 20)
        assert stranger.control.inspect(timeout=0.5).ping() is None
        answers = friend.control.inspect(timeout=10, limit=1).ping()
    assert list(answers.values()) == [{"ok": "pong"}]
    assert worker.process.poll() is None
    assert "dropped a message" in worker.log
    assert "ignored the command 'shutdown'" in worker.log


def test_messages_and_commands_of_somebody_without_a_key_are_ignored(
    worker: WorkerProcess, own_redis: Server, keys: str
) -> None:
    """A worker that has keys drops them, says why, and goes on; those of who has a key are heard, and runs end."""
    only_who_has_a_key_is_heard(worker, Settings(redis_url=own_redis.url), keys)
    assert "It is" in secretive().kickoff({"x": "y"}).tasks_output[1].raw
