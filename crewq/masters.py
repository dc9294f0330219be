"""Connections to a Redis whose place is to be asked for: of sentinels, or of the nodes of a cluster.

Both come to the same question, asked anew for each connection that is made: who is the master now? All keys of an
installation have one hash tag and so lie in one slot, which one node of a cluster serves. An ordinary connection to that
one does all that crewq does (scripts, pipelines, blocking reads, subscriptions), and whoever stops being the one says so:
the connection is given up then as if it had broken, and whoever tries again asks again.

A cluster's own client would do worse. While a slot is moved key by key it follows ASK to the node that the slot goes to,
where a script would find some of the keys and take the others for gone. Here ASK means to wait until the slot has moved.
No script is cut in half by it: its first key is never there, so a node that has begun to give the slot away refuses it
as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from crewq.addresses import Address

Place = tuple[str, int]

ASK_WITHIN = 1.0  # seconds that a sentinel or a node may take to say where the master is, before the next one is asked
# What a server says that is not, or no longer, the one to talk to: it became a replica, the slot is elsewhere or on its way
# there, or the cluster has no majority.
ELSEWHERE = (
    exceptions.ReadOnlyError,
    exceptions.AskError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
UNBLOCKED = "UNBLOCKED"  # what a read is told that was waiting when the server became a replica


def connection_class(address: Address, key: str) -> type[redis.Connection]:
    """What a pool of connections to an address that is asked for is made of.

    Args:
        address: of sentinels, or of a cluster.
        key: one that has the hash tag of all.
    """
    find = _asked(address, key)
    standard: type[redis.Connection] = redis.SSLConnection if address.tls else redis.Connection

    class Seeking(standard):  # type: ignore[misc,valid-type]  # one of two classes
        """Asks for its place whenever it connects."""

        def _connect(self) -> Any:
            self.host, self.port = find()
            return super()._connect()

        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except exceptions.ResponseError as error:
                if not isinstance(error, ELSEWHERE) and not str(error).startswith(UNBLOCKED):
                    raise
                self.disconnect()
                told = f"{self.host}:{self.port} is not the master any more: {error}"
                raise exceptions.ConnectionError(told) from error

    return Seeking


def _asked(address: Address, key: str) -> Callable[[], Place]:
    """Asks one after the other who the master is."""
    told: list[Place] = []  # newest first: should all nodes that the address names be gone one day

    def find() -> Place:
        said = []
        for place in (*address.hosts, *told):
            try:
                master = _by_sentinel(address, place) if address.kind == "sentinel" else _by_node(address, place, key)
            except exceptions.RedisError as error:
                said.append(f"{place[0]}:{place[1]} says: {error}")
            else:
                if address.kind == "cluster":
                    told[:] = [master, *(other for other in told if other != master)][:8]
                return master
        raise exceptions.ConnectionError(f"nobody says who the master is. {'; '.join(said)}")

    return find


def _by_sentinel(address: Address, place: Place) -> Place:
    with redis.Redis(*place, decode_responses=True, **asking(address)) as sentinel:
        answer = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master)
    if not answer:
        raise exceptions.ResponseError(f"there is no master called {address.master!r}")
    return answer[0], int(answer[1])


def _by_node(address: Address, place: Place, key: str) -> Place:
    """Which node serves the slot of a key: the one that is asked, or the one that it sends us to."""
    with redis.Redis.from_url(address.url, **asking(address)) as node:
        node.connection_pool.connection_kwargs.update(host=place[0], port=place[1])
        try:
            node.exists(key)
        except exceptions.MovedError as error:
            return (error.host if error.host not in ("", "?") else place[0]), error.port
        except exceptions.AskError:
            pass  # it serves the slot for as long as that is moved
    return place


def asking(address: Address) -> dict[str, Any]:
    """How to connect with whom to ask: options of redis-py's."""
    standard: dict[str, Any] = {
        "socket_timeout": ASK_WITHIN,
        "socket_connect_timeout": ASK_WITHIN,
        "retry": Retry(NoBackoff(), 0),  # the next one is asked instead
    }
    if address.kind == "cluster":
        return standard
    tls = {key: value for key, value in address.options.items() if key.startswith("ssl_")}
    return standard | dict(address.login) | ({"ssl": True, **tls} if address.tls else {})


__all__ = ["asking", "connection_class"]
