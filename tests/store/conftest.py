"""One suite over two servers: a real one, and fakeredis, which the embedded mode falls back to."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis

from tests.store.world import World


@pytest.fixture(params=["real", "fake"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A store on an empty server. At the end of every test, every key there has a time to live."""
    if request.param == "real":
        client = redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True)
    else:
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
    world = World(client)
    yield world
    assert world.immortal() == []
    client.close()
