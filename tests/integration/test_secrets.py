"""What nobody is to see: no input, prompt, output or secret in a broker message, a Celery event, or a log at INFO; and no key
anywhere: not in Redis, nor in its files. And who writes to Redis what is no message of crewq's, harms nobody."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from crewq import LLM, Crew, Run, Task, errors
from crewq.app import TASK_JOB
from crewq.mcp import MCPServerStdio
from crewq.server import Server
from crewq.testing import call
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, agent, scripted
from tests.integration.worker_process import ROOT, WorkerProcess
from tests.model_server import ModelServer, calls, error
from tests.waiting import until

SECRET = "TOP-SECRET-7391"


class Broker:
    """Every message and every Celery event that passes through Redis, unpacked. Where both are is the same place."""

    def __init__(self, url: str) -> None:
        self.passed: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        for passed in self._monitor.listen():
            verb, _, rest = str(passed["command"]).partition(" ")
            if verb == "ECHO":
                return
            if verb in ("LPUSH", "RPUSH", "PUBLISH"):
                self._unpack(rest)

    def _unpack(self, rest: str) -> None:
        where, _, text = rest.partition(" ")
        self.passed.append(text)
        if "{" in text and not where.startswith("{crewq}"):
            message = json.loads(text[text.index("{") :])
            if "body" not in message:  # a result
                return
            body = base64.b64decode(message["body"]).decode()
            self.passed.append(body)
            if "celeryev" in where:
                found = json.loads(body)
                self.events += found if isinstance(found, list) else [found]

    def close(self) -> None:
        self._client.echo("enough")
        self._thread.join(10)
        self._monitor.__exit__(None, None, None)
        self._client.close()


@pytest.fixture
def broker(fleet: WorkerProcess, fleet_server: Any) -> Iterator[Broker]:
    watched = Broker(fleet_server.url)
    yield watched
    if watched._thread.is_alive():
        watched.close()


def test_nothing_of_the_content_is_seen_on_the_way(fleet: WorkerProcess, broker: Broker) -> None:
    before = len(fleet.log)
    speaker = agent(Echo(), role=f"Keeper of {SECRET}")
    caller = agent(scripted(call("add", left=1, right=2), call("broken", reason=SECRET), f"It is {SECRET}."))
    caller.tools = [crews.add, crews.broken]
    work = Crew(
        name="secrets",
        tasks=[
            Task(name="say", description="Say {x}", expected_output=SECRET, agent=speaker, callback=crews.failing),
            Task(name="use", description=f"Use {SECRET}", agent=caller),
            Task(name="fail", description="Fail over {x}", agent=agent(Echo(poison="TOP"), max_retry_limit=0)),
        ],
    )
    run = work.kickoff_async({"x": SECRET})
    with pytest.raises(errors.RunFailed, match="poisoned"):
        run.result(20)
    ids = set(run.task_ids)
    until(lambda: [event for event in broker.events if event["type"] == "task-failed" and event["uuid"] in ids])
    assert run.async_result.status == "FAILURE"
    broker.close()
    sent = [event for event in broker.events if event.get("uuid") in ids]
    assert {"task-sent", "task-received", "task-started", "task-succeeded", "task-failed"} <= {
        event["type"] for event in sent
    }
    assert {event["name"] for event in sent if event["type"] == "task-received"} == {
        "secrets/say",
        "secrets/use",
        "secrets/fail",
    }
    assert not [text for text in broker.passed if SECRET in text]
    assert SECRET not in fleet.log[before:]
    assert run.task_ids[0] in fleet.log[before:], "the log is really looked at"


def test_nor_is_what_a_task_without_a_name_is_called(fleet: WorkerProcess, broker: Broker) -> None:
    """For people it is a number: its description is a prompt."""
    Crew(tasks=[Task(description="Look into {x} and tell", agent=agent())]).kickoff({"x": SECRET})
    broker.close()
    assert not [text for text in broker.passed if SECRET in text]
    assert not [text for text in broker.passed if "Look into" in text]
    assert any("crew/task 1" in text for text in broker.passed)


# -- keys ---------------------------------------------------------------------------------------------------

# None of them looks like a key: nothing but where they stand tells that they are.
PLANTED = {
    "OPENAI_API_KEY": "marzipan-provider-7391",
    "MCP_TEST_TOKEN": "marzipan-server-7392",
    "SHOP_API_KEY": "marzipan+tool/7393",
    "CREWQ_REDIS_PASSWORD": "marzipan-redis-7394",  # beside the one in the URL
}
FOUND = "marzipan"


def test_planted_keys_are_found_nowhere(
    own_redis: Server,
    tmp_path: Path,
    start_worker: StartWorker,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of the worker's environment and of the producer's; with a provider, a tool and a guardrail that repeat them."""
    broker_url = own_redis.url.removesuffix("/0") + "/1"
    monkeypatch.setenv("CREWQ_BROKER_URL", broker_url)
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, f"{value}-producer")
    env = PLANTED | {"CREWQ_BROKER_URL": broker_url, "CREWQ_MCP_SERVERS": sys.executable}
    worker = start_worker(own_redis.url, **env).ready()
    watched = Broker(own_redis.url)
    ended = _with_keys(model_server, tmp_path)
    watched.close()

    assert [call.key for call in model_server.ledger] == [PLANTED["OPENAI_API_KEY"]] * 3, "they are really used"
    assert "KeyRejected" in ended["refused"]
    assert "no such key: ***" in ended["checked"]
    seen = {
        "messages and Celery's events": watched.passed,
        "the worker's log": [worker.log],
        "events of runs": list(ended.values()),
        **{f"database {number}": _all_of(own_redis.url, number) for number in (0, 1)},
        "files of Redis": [file.read_bytes().decode(errors="replace") for file in _files_of_redis(tmp_path)],
    }
    assert {where for where, texts in seen.items() if any(FOUND in text for text in texts)} == set()
    assert all(any("say-with-a-key" in text for text in seen[where]) for where in seen.keys() - {"database 1"}), (
        "each place is really looked at"
    )


def _with_keys(model_server: ModelServer, folder: Path) -> dict[str, str]:
    """Runs that use the keys in each way; answers their events and their errors, as texts."""
    asked = LLM(model="openai/any", base_url=model_server.url)
    server = MCPServerStdio(
        command=sys.executable,
        args=["-m", "tests.mcp_server", str(folder / "mcp-notes")],
        env={"PYTHONPATH": str(ROOT), "API_KEY": "${MCP_TEST_TOKEN}"},
    )
    refused = error(401, f"I do not know {PLANTED['OPENAI_API_KEY']}.")
    model_server.enqueue(calls(("add", {"left": 1, "right": 2})), "3", refused)
    work = {
        "served": agent(asked, mcps=[server]),
        "refused": agent(asked, max_retry_limit=0),
        "used": agent(scripted(call("keyed", name="SHOP_API_KEY"), "It failed.")),
        "checked": agent(scripted("Done."), max_retry_limit=0),
    }
    work["used"].tools = [crews.keyed]
    found = {}
    for name, who in work.items():
        check = {"guardrail": crews.keyed_check} if name == "checked" else {}
        run = Crew(
            name=name, tasks=[Task(name="say-with-a-key", description="Say it.", agent=who, **check)]
        ).kickoff_async()
        found[name] = _story_of(run)
    return found


def _story_of(run: Run) -> str:
    try:
        run.result(60)
        said = "completed"
    except errors.RunFailed as failed:
        said = f"{failed} {failed.__cause__!r}"
    return "\n".join([said, *(event.model_dump_json() for event in run.events()), *run.task_ids])


def _all_of(url: str, number: int) -> list[str]:
    """Every key of a database, and what it holds."""
    readers: dict[str, Any] = {
        "string": lambda client, key: client.get(key),
        "hash": lambda client, key: client.hgetall(key),
        "list": lambda client, key: client.lrange(key, 0, -1),
        "set": lambda client, key: client.smembers(key),
        "zset": lambda client, key: client.zrange(key, 0, -1),
        "stream": lambda client, key: client.xrange(key),
    }
    with redis.Redis.from_url(url.removesuffix("/0") + f"/{number}", decode_responses=True) as client:
        return [f"{key} {readers[str(client.type(key))](client, key)}" for key in client.scan_iter()]


def _files_of_redis(folder: Path) -> list[Path]:
    """Its append-only file, in which all is that it was ever told, messages too."""
    found = list((folder / "redis" / "appendonlydir").iterdir())
    assert sum(file.suffix == ".aof" and ".incr." in file.name for file in found) == 1
    return [*found, folder / "redis" / "server.log"]


# -- what is no message of crewq's --------------------------------------------------------------------------


class Bomb:
    """What a pickle may do to whoever reads it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._file),)


def test_a_message_that_is_not_json_is_refused_and_harms_nobody(
    fleet: WorkerProcess, fleet_server: Server, tmp_path: Path
) -> None:
    before = len(fleet.log)
    forger = Celery(broker=fleet_server.url, set_as_current=False)
    forger.conf.update(task_serializer="pickle", accept_content=["pickle"])
    touched = tmp_path / "touched"
    forger.send_task(TASK_JOB, args=[Bomb(touched), 0], queue="crewq")
    until(lambda: "ContentDisallowed" in fleet.log[before:])
    forger.send_task(TASK_JOB, args=["a", 0], queue="crewq", serializer="yaml")
    until(lambda: fleet.log[before:].count("ContentDisallowed") >= 2)
    for name in ("os.system", "celery.accumulate", "subprocess:run"):
        forger.send_task(name, args=[f"mkdir {touched}"], queue="crewq", serializer="json")
    forger.send_task(TASK_JOB, args=[{"__reduce__": "os.system"}, "x"], queue="crewq", serializer="json")
    assert Crew(tasks=[Task(description="Say it", agent=agent())]).kickoff().raw, "it goes on working"
    assert not touched.exists()
    forger.close()
