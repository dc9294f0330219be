"""Bad input of every kind: a clear error, before anything was started where that can be, and nothing lost."""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from crewq import LLM, Agent, BaseTool, Crew, Run, Task, errors, tool
from crewq.producer import connect
from crewq.server import Server
from crewq.store import Job
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import agent, crew
from tests.integration.worker_process import WorkerProcess
from tests.waiting import until

ProducerOf = Callable[[str], None]


def task(who: Agent | None = None, **fields: Any) -> Task:
    return Task(**{"description": "Do it", "agent": who or agent()} | fields)


# -- inputs ----------------------------------------------------------------------------------------------------------


def test_all_missing_inputs_are_named_at_once(nothing_started: None) -> None:
    who = agent(role="{job} of {town}")
    work = Crew(name="papers", tasks=[task(who, name="read", description="Read {topic} in {town}")])
    with pytest.raises(errors.MissingInputs) as caught:
        work.kickoff({"topik": "AI"})
    told = str(caught.value)
    assert "The crew 'papers' needs inputs that were not given: job, town, topic." in told
    assert "{town} in role of the agent '{job} of {town}', description of the task 'read'" in told
    assert 'inputs={"job": ..., "town": ..., "topic": ...}' in told
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ((1, 2), "inputs['x'] is of type tuple"),
        ({1, 2}, "inputs['x'] is of type set"),
        ([1, {"deep": [object()]}], "inputs['x'][1]['deep'][0] is of type object"),
        ({"a": {1: 2}}, "inputs['x']['a'] key 1 is of type int"),
        (float("nan"), "inputs['x'] is of type float (nan)"),
        (b"bytes", "inputs['x'] is of type bytes"),
        ("\ud800", "inputs['x'] is of type str that is no Unicode text"),
        (Path("x"), "inputs['x'] is of type PosixPath"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_path(nothing_started: None, value: Any, path: str) -> None:
    with pytest.raises(errors.UnsupportedInput) as caught:
        crew("Say {x}").kickoff({"x": value})
    assert path in str(caught.value)


def test_a_value_that_holds_itself_is_refused(nothing_started: None) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(errors.UnsupportedInput):
        crew("Say {x}").kickoff({"x": endless})


@pytest.mark.parametrize("inputs", ["text", [("x", 1)], 7])
def test_inputs_that_are_no_mapping(nothing_started: None, inputs: Any) -> None:
    with pytest.raises(errors.InputsNotMapping, match="inputs must be a dict"):
        crew("Say {x}").kickoff(inputs)


# -- crews -----------------------------------------------------------------------------------------------------------

STRANGER = task(description="A stranger's task")
LATE = task(name="late")


@pytest.mark.parametrize(
    ("work", "kind", "told"),
    [
        (lambda: Crew(name="idle", tasks=[]), errors.EmptyCrew, "The crew 'idle' has no tasks"),
        (lambda: Crew(tasks=[Task(description="Alone")]), errors.AgentMissing, r"Task 1 \('Alone'\).* has no agent"),
        (
            lambda: Crew(tasks=[task(context=[LATE]), LATE]),
            errors.ContextComesLater,
            "'late' in its context, which comes later",
        ),
        (lambda: Crew(tasks=[task(context=[STRANGER])]), errors.ContextNotInCrew, "A stranger's task"),
        (
            lambda: Crew(tasks=[task(agent(tools=[crews.add, crews.add]))]),
            errors.DuplicateToolName,
            "Two tools of the agent 'Tester' are both called 'add'",
        ),
        (lambda: Crew(tasks=[task(name="a"), task(name="a")]), errors.DuplicateTaskName, "both called 'a'"),
        (
            lambda: Crew(tasks=[task(agent(LLM(model="x", api_key="sk-123456789")))]),
            errors.LiteralKey,
            "OPENAI_API_KEY",
        ),
    ],
)
def test_a_crew_that_cannot_run(
    nothing_started: None, work: Callable[[], Crew], kind: type[errors.CrewError], told: str
) -> None:
    with pytest.raises(kind, match=told) as caught:
        work().kickoff()
    assert "sk-123456789" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Agent(role="a", goal="b", backstory="c", tols=[]), "Agent has no field 'tols'. Did you mean 'tools'?"),
        (lambda: Task(descripton="a"), "Task has no field 'descripton'. Did you mean 'description'?"),
        (lambda: Crew(task=[]), "Crew has no field 'task'. Did you mean 'tasks'?"),
        (lambda: LLM(model="x", temprature=1), "LLM has no field 'temprature'. Did you mean 'temperature'?"),
        (lambda: Crew(tasks=[], share_crew=True), "is CrewAI's, and crewq does not have it yet"),
        (
            lambda: Crew(tasks=[], memory=object()),
            "Crew(memory=object(...)) is CrewAI's, and crewq does not have it yet: set",
        ),
        (lambda: Agent(role="a", goal="b", backstory="c", embedder={"provider": "x"}), "is CrewAI's"),
        (lambda: Agent(role="a", goal="b"), "Agent(backstory=...) is not valid: Field required"),
        (lambda: Agent(role="a", goal="b", backstory="c", max_iter=0), "Agent(max_iter=...) is not valid"),
        (lambda: task(output_json=crews.Person, output_pydantic=crews.Person), "exclude each other"),
        (lambda: task(context=["read"]), "context must be a list of Task objects"),
    ],
)
def test_fields_that_are_not_there(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(errors.FieldError) as caught:
        make()
    assert told in str(caught.value)


def test_what_is_off_in_crewai_may_be_named(fleet: WorkerProcess) -> None:
    who = Agent(role="a", goal="b", backstory="c", llm=crews.Echo(), memory=False, allow_delegation=False)
    assert Crew(agents=[who], tasks=[task(who)], memory=False, verbose=True).kickoff().raw


# -- what cannot travel ----------------------------------------------------------------------------------------------


class Keyed(BaseTool):
    name: str = "keyed"
    description: str = "Has a key."
    key: SecretStr = SecretStr("")

    def _run(self) -> str:
        return ""


class Holding(BaseTool):
    name: str = "holding"
    description: str = "Holds what is no data."
    thing: Any = None

    def _run(self) -> str:
        return ""


def local_tool() -> BaseTool:
    @tool
    def inner(x: int) -> int:
        """Be local."""
        return x

    return inner


def local_class() -> BaseTool:
    class Inner(Keyed):
        pass

    return Inner()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (local_tool, "defined inside a function"),
        (local_class, "defined inside a function"),
        (lambda: Keyed(key=SecretStr("hush-hush")), "its field 'key' holds a secret"),
        (lambda: Holding(thing=object()), "cannot be written as JSON"),
    ],
)
def test_a_tool_that_cannot_travel(nothing_started: None, make: Callable[[], BaseTool], told: str) -> None:
    with pytest.raises(errors.NotPortable) as caught:
        crew_with(make()).kickoff()
    assert told in str(caught.value)
    assert "hush-hush" not in str(caught.value)


def crew_with(*tools: BaseTool) -> Crew:
    return Crew(tasks=[task(agent(tools=list(tools)))])


@pytest.mark.parametrize("callback", [lambda output: None, print, crews.Person])
def test_a_callback_that_cannot_travel(nothing_started: None, callback: Any) -> None:
    with pytest.raises(errors.NotPortable, match="callback of the task 'named'"):
        Crew(tasks=[task(name="named", callback=callback)]).kickoff()


def test_a_tool_whose_module_the_worker_may_not_load(
    fleet: WorkerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rogue.py").write_text(
        'from crewq import tool\n@tool\ndef nice() -> str:\n    "Be nice."\n    return ""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    import rogue

    with pytest.raises(errors.RunFailed, match="'rogue' is not among those that CREWQ_IMPORTS allows") as caught:
        crew_with(rogue.nice).kickoff()
    assert isinstance(caught.value.__cause__, errors.ReferenceRefused)
    del sys.modules["rogue"]


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("os:system", "not among those that CREWQ_IMPORTS allows"),
        ("tests.integration.crews:os.system", "it is not a tool|has no such name|leads out"),
        ("tests.integration.crews:note", "it is not a tool"),
        ("tests.integration.crews:nothing", "has no such name"),
        ("tests.integration.crews:__builtins__", "not of the form"),
    ],
)
def test_a_forged_reference_is_refused(fleet: WorkerProcess, fleet_server: Server, reference: str, told: str) -> None:
    """Someone who can write to Redis changes a stored crew."""
    work = crew_with(crews.add)
    work.name = f"forged {reference}"
    run = _held_back(work)
    with redis.Redis.from_url(fleet_server.url, decode_responses=True) as client:
        key = f"{{crewq}}:spec:{work.spec().digest()}"
        text = str(client.get(key))
        client.set(key, text.replace("tests.integration.crews:add", reference))
    _published(work, run)
    with pytest.raises(errors.RunFailed, match=told):
        run.result(20)


def test_a_spec_from_a_newer_version(fleet: WorkerProcess, fleet_server: Server) -> None:
    work = crew("From the future")
    run = _held_back(work)
    with redis.Redis.from_url(fleet_server.url, decode_responses=True) as client:
        key = f"{{crewq}}:spec:{work.spec().digest()}"
        client.set(key, json.dumps(json.loads(str(client.get(key))) | {"version": 99, "wings": True}))
    _published(work, run)
    with pytest.raises(errors.RunFailed, match="stored by a newer crewq"):
        run.result(20)
    with pytest.raises(errors.SpecTooNew, match="format 99"):
        work.replay(run.task_ids[0])


def test_a_run_that_no_worker_can_read_holds_no_other_up(fleet: WorkerProcess, fleet_server: Server) -> None:
    """Neither its message nor that of another run was ever sent; the sweeper finds both."""
    unread, lost = crew("From far in the future"), crew("From today")
    runs = [_held_back(unread), _held_back(lost), _held_back(unread)]
    with redis.Redis.from_url(fleet_server.url) as client:
        client.set(f"{{crewq}}:spec:{unread.spec().digest()}", '{"version": 100}')
    assert runs[1].result(20).raw
    for at in (0, 2):
        runs[at].cancel()


def _held_back(work: Crew) -> Run:
    producer = connect()
    publish, producer.publish = producer.publish, lambda *_, **__: None  # type: ignore[method-assign]
    try:
        return work.kickoff_async()
    finally:
        producer.publish = publish  # type: ignore[method-assign]


def _published(work: Crew, run: Run) -> None:
    connect().publish(work.spec(), [Job(run.id, 0)])


# -- Redis -----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        return int(anywhere.getsockname()[1])


def test_redis_that_is_not_there_is_told_in_seconds_without_its_password(producer_of: ProducerOf) -> None:
    port = free_port()
    producer_of(f"redis://me:pass-word@127.0.0.1:{port}/3")
    began = time.monotonic()
    with pytest.raises(errors.StoreUnreachable, match=rf"redis://me:\*\*\*@127.0.0.1:{port}/3") as caught:
        crew("Say a").kickoff()
    assert time.monotonic() - began < 8
    assert "pass-word" not in str(caught.value)


def test_a_wrong_password_is_told_at_once(own_redis: Server, producer_of: ProducerOf) -> None:
    right = own_redis.url.partition("@")[2]
    producer_of(f"redis://:wrong-word@{right}")
    began = time.monotonic()
    with pytest.raises(errors.StoreUnreachable, match="it refuses the password") as caught:
        crew("Say a").kickoff()
    assert time.monotonic() - began < 2
    assert "wrong-word" not in str(caught.value)
    producer_of(f"redis://{right}")
    with pytest.raises(errors.StoreUnreachable):
        crew("Say a").kickoff()


def test_redis_that_evicts_or_is_full(own_redis: Server) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(errors.StoreUnfit, match=r"maxmemory-policy is allkeys-lru.*CONFIG SET maxmemory-policy"):
            crew("Say a").kickoff()
        client.config_set("maxmemory-policy", "noeviction")
        work = crew("Say a")
        run = work.kickoff_async()
        client.config_set("maxmemory", 1)
        with pytest.raises(errors.StoreFull, match="takes no more writes"):
            work.kickoff()
        client.config_set("maxmemory", 0)
        assert run.status == "queued"


class OldRedis(socketserver.StreamRequestHandler):
    """Says that it is Redis 5."""

    def handle(self) -> None:
        about = b"redis_version:5.0.14\r\nmaxmemory_policy:noeviction\r\n"
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].upper())
            self.wfile.write(b"$%d\r\n%s\r\n" % (len(about), about) if words[0] == b"INFO" else b"+OK\r\n")


def test_redis_that_is_too_old(producer_of: ProducerOf) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        producer_of(f"redis://127.0.0.1:{server.server_address[1]}/0?protocol=2")
        with pytest.raises(errors.StoreUnfit, match=r"it is version 5.0.14. Use 6.2 or later"):
            crew("Say a").kickoff()
        server.shutdown()


@pytest.mark.parametrize("url", ["http://localhost:6379", "localhost:6379", "redis"])
def test_what_is_no_url_of_redis(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CREWQ_REDIS_URL", url)
    with pytest.raises(errors.SettingInvalid, match=r"CREWQ_REDIS_URL=.*must be a Redis URL"):
        crew("Say a").kickoff()


# -- workers ---------------------------------------------------------------------------------------------------------


def test_a_worker_that_cannot_work_says_why(own_redis: Server, start_worker: StartWorker) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    unfit, nowhere = start_worker(own_redis.url), start_worker("")
    refused = start_worker(own_redis.url.replace("redis://:", "redis://:wrong-"))
    early = start_worker(f"redis://:pass-word@127.0.0.1:{free_port()}/0")
    assert unfit.exit_status(30) != 0
    assert "maxmemory-policy is allkeys-lru" in unfit.log
    assert nowhere.exit_status(30) != 0
    assert "CREWQ_REDIS_URL='' is not valid: a worker needs the address of a Redis" in nowhere.log
    assert refused.exit_status(30) != 0
    assert "it refuses the password" in refused.log
    until(lambda: "waiting for Redis: Redis does not answer at redis://:***@127.0.0.1" in early.log, 30)
    assert early.process.poll() is None
    assert "pass-word" not in early.log
