"""What nobody is to see: no input, prompt, output or secret in a broker message, a Celery event, or a log at INFO."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from crewq import Crew, Task, errors
from crewq.testing import call
from tests.integration import crews
from tests.integration.crews import Echo, agent, scripted
from tests.integration.worker_process import WorkerProcess
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
    """Its name for people is made of the first words of its description, a template: never of an input."""
    Crew(tasks=[Task(description="Look into {x} and tell", agent=agent())]).kickoff({"x": SECRET})
    broker.close()
    assert not [text for text in broker.passed if SECRET in text]
    assert any("crew/Look into {x} and tell" in text for text in broker.passed)
