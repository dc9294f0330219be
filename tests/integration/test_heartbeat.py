"""The sign of life that a container's health check looks at."""

from __future__ import annotations

import threading
from pathlib import Path

from crewq.app import make_app
from crewq.heartbeat import Heartbeat
from crewq.host import Host
from crewq.server import Server
from crewq.settings import Settings
from tests.integration.conftest import StartWorker
from tests.waiting import until

PERIOD = 0.01  # seconds


def test_a_worker_gives_it_from_when_it_is_ready_until_it_stops(
    own_redis: Server, start_worker: StartWorker, tmp_path: Path
) -> None:
    file = tmp_path / "alive"
    worker = start_worker(own_redis.url, CREWQ_HEARTBEAT_FILE=str(file)).ready()
    until(file.exists)
    worker.terminate()
    assert worker.exit_status() == 0
    assert not file.exists()


def test_an_event_loop_that_stands_still_gives_none(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path)
    host, file = Host(settings, make_app(settings)).start(), tmp_path / "alive"
    heartbeat = Heartbeat(host, file, PERIOD)
    until(file.exists)

    async def stand_still() -> bool:
        file.unlink()
        threading.Event().wait(20 * PERIOD)
        return file.exists()

    assert host.submit(stand_still()).result(10) is False
    until(file.exists)
    heartbeat.stop()
    host.close()


def test_a_file_that_cannot_be_touched_harms_nothing(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path)
    host, folder = Host(settings, make_app(settings)).start(), tmp_path / "later"
    heartbeat = Heartbeat(host, folder / "alive", PERIOD)
    folder.mkdir()
    until((folder / "alive").exists)
    heartbeat.stop()
    host.close()
