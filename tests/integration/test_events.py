"""What a worker tells Flower and others who listen to Celery's events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from crewq.server import Server
from tests.integration.conftest import StartWorker
from tests.integration.crews import crew, scripted
from tests.waiting import until


@pytest.fixture
def heard(own_redis: Server) -> Iterator[list[dict[str, Any]]]:
    """The events of tasks, as Celery's own receiver hears them."""
    events: list[dict[str, Any]] = []
    app = Celery(broker=own_redis.url)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": events.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None}, daemon=True)
        thread.start()
        yield events
        receiver.should_stop = True
        thread.join(10)
    app.close()


def test_events_are_sent_together_and_none_is_kept_back_by_the_end_of_a_worker(
    heard: list[dict[str, Any]], own_redis: Server, start_worker: StartWorker
) -> None:
    worker = start_worker(own_redis.url, "-E").ready()
    until(lambda: any(event["type"] == "worker-heartbeat" for event in heard), 20)
    run = crew("One.", "Two.", "Three.", llm=scripted("1", "2", "3")).kickoff_async()
    run.result(timeout=30)
    until(lambda: worker.log.count("Task crew/c") == 2)  # received and succeeded: Celery says so after crewq does
    worker.terminate()
    assert worker.exit_status() == 0
    until(lambda: any(event["type"] == "worker-offline" for event in heard), 10)
    ended = [
        event["uuid"] for event in heard if event["type"] == "task-succeeded"
    ]  # among them perhaps those of probes
    assert sorted(one for one in ended if one in run.task_ids) == sorted(run.task_ids)
