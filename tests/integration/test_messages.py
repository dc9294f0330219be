"""Messages that no program of crewq's wrote: a worker drops them, says so, and works on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from crewq.app import PROBE_JOB, TASK_JOB
from crewq.server import Server
from tests.integration.conftest import StartWorker
from tests.integration.crews import crew
from tests.integration.worker_process import WorkerProcess
from tests.waiting import until

NONSENSE = "nonsense"
ID = "00000000-0000-4000-8000-000000000000"


def message(body: Any = None, task: Any = TASK_JOB, **changed: Any) -> str:
    """As Celery writes it, but for what was changed."""
    body = [[ID, 0], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}] if body is None else body
    headers = {"lang": "py", "task": task, "id": ID, "root_id": ID, "parent_id": None, "retries": 0, "eta": None}
    text = body if isinstance(body, str) else json.dumps(body)
    return json.dumps(
        {
            "body": base64.b64encode(text.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": changed.pop("content_type", "application/json"),
            "headers": headers | changed,
            "properties": {
                "correlation_id": ID,
                "delivery_info": {"exchange": "", "routing_key": "crewq"},
                "delivery_tag": ID,
                "delivery_mode": 2,
                "body_encoding": "base64",
                "priority": 0,
            },
        }
    )


FORGED = [
    message([[ID], {}, {}]),
    message([[ID, "0"], {}, {}]),
    message([[ID, -1], {}, {}]),
    message([[{"a": NONSENSE}, 0], {}, {}]),
    message([[ID, 0], {"more": NONSENSE}, {}]),
    message([[7, 10**30], {}, {}]),
    message([["\ud800", 0], {}, {}]),
    message([[ID, 0], [], {}]),
    message([[ID, 0]]),
    message([]),
    message(7),
    message({"args": NONSENSE}),
    message("no JSON"),
    message("[" * 50_000),
    message("9" * 5000),
    message([["lane", "now"], {}, {}], PROBE_JOB),
    message([[7, 7], {}, {}], PROBE_JOB),
    message([[], {}, {}], PROBE_JOB),
    message(task="os.system"),
    message(task=["list"]),
    message(task=None),
    message(timelimit=7),
    message(timelimit=["soon", NONSENSE]),
    message(timelimit=[1e300, None]),
    message(timelimit=[None, -1]),
    message(eta=NONSENSE),
    message(eta=7),
    message(expires=NONSENSE),
    message(expires=[1]),
    message(retries=NONSENSE),
    message(id=7),
    message(id=None),
    message(content_type="application/x-python-serialize"),
    message(content_type=None),
]


@pytest.fixture
def push(fleet_server: Server) -> Callable[[str], None]:
    def send(text: str) -> None:
        with redis.Redis.from_url(fleet_server.url) as client:
            client.lpush("crewq", text)
            until(lambda: not client.llen("crewq"))

    return send


NO_MESSAGES = ["garbage", "[]", "{}", "[" * 50_000]


def test_what_is_no_message_at_all_is_dropped(own_redis: Server, start_worker: StartWorker) -> None:
    worker = start_worker(own_redis.url).ready()
    with redis.Redis.from_url(own_redis.url) as client:
        for text in NO_MESSAGES:
            client.lpush("crewq", text)
            until(lambda: not client.llen("crewq"), 20)
            assert worker.process.poll() is None, text
    assert "Say a" in crew("Say {x}").kickoff({"x": "a"}).raw
    assert worker.log.count("that is no message") == len(NO_MESSAGES)
    assert "Unrecoverable error" not in worker.log


def test_forged_messages_are_dropped(fleet: WorkerProcess, push: Callable[[str], None]) -> None:
    before = len(fleet.log)
    for text in FORGED:
        push(text)
        assert fleet.process.poll() is None, text
    assert "Say a" in crew("Say {x}").kickoff({"x": "a"}).raw
    assert "Unrecoverable error" not in fleet.log[before:]
