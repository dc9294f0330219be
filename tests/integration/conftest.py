"""A Redis and a worker of their own for the tests of the whole, shared by the session.

`fleet`: this process as a producer, and one worker process that works for it.
`nothing_started`: the same, for a test that is to leave no trace there.
`start_worker`: starts further ones, gone when the test ends.
`own_redis`: a server that a test may do to whatever it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from crewq.producer import disconnect
from crewq.server import Server, join
from tests.integration.worker_process import WorkerProcess
from tests.model_server import ModelServer

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def fleet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with join(tmp_path_factory.mktemp("fleet-redis")) as server:
        yield server


@pytest.fixture(scope="session")
def fleet_worker(fleet_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with WorkerProcess(tmp_path_factory.mktemp("fleet"), fleet_server.url) as worker:
        yield worker.ready()


@pytest.fixture
def producer_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make this process a producer for the Redis at a URL, until the test ends."""
    monkeypatch.delenv("REDIS_URL", raising=False)

    def use(url: str) -> None:
        monkeypatch.setenv("CREWQ_REDIS_URL", url)

    yield use
    disconnect()


@pytest.fixture
def fleet(fleet_server: Server, fleet_worker: WorkerProcess, producer_of: Callable[[str], None]) -> WorkerProcess:
    producer_of(fleet_server.url)
    return fleet_worker


@pytest.fixture
def nothing_started(fleet: WorkerProcess, fleet_server: Server) -> Iterator[None]:
    """Nothing that the test does leaves a trace in Redis."""
    with redis.Redis.from_url(fleet_server.url) as client:
        before = client.zcard("{crewq}:ids")
        yield
        assert client.zcard("{crewq}:ids") == before


@pytest.fixture
def own_redis(tmp_path: Path, producer_of: Callable[[str], None]) -> Iterator[Server]:
    with join(tmp_path / "redis") as server:
        producer_of(server.url)
        yield server


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    with ExitStack() as started:

        def start(url: str, *options: str, **env: str) -> WorkerProcess:
            return started.enter_context(WorkerProcess(tmp_path, url, *options, **env))

        yield start


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server
