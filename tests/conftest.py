"""What every test can ask for: a real Redis.

`redis_server`: one server for the whole session, crewq's own embedded one, in a directory of its own.
`redis_url`: its URL, with every key deleted before the test.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import redis

from crewq.server import Server, join


def pytest_sessionstart() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with join(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url
