"""Celery's Redis backend, without the command of redis-py's that it uses and that redis-py warns of, and without what it does
for results that are never written.

Where warnings are errors, as in many a test suite, no result could be written. What is written is the same, so programs
with Celery's own backend read it.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from crewq.addresses import read_address, without_password
from crewq.masters import connection_class


class Backend(RedisBackend):
    """Writes results with SET where Celery's own uses SETEX, to sentinels' masters and to clusters too, and does not follow the
    results of a group's jobs."""

    expires: int  # seconds that a result is kept: that of the app's settings
    task_keyprefix: str
    url: str

    def as_uri(self, include_password: bool = False) -> str:
        """The address, for Celery's banner."""
        return self.url if include_password else without_password(self.url)

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        address = read_address(url)
        parameters: dict[str, Any] = super()._params_from_url(address.url, defaults)  # type: ignore[misc]  # its stub lacks it
        if address.kind != "server":
            parameters["connection_class"] = connection_class(address, self.task_keyprefix)
            parameters["retry"] = Retry(
                ExponentialBackoff(cap=0.5, base=0.05), 5
            )  # by a connection to who is the master now
        return parameters

    def set(self, key: Any, value: Any, expires: int | None = None, **retry_policy: Any) -> Any:
        """Write a result, and tell who waits for it; `expires` is in seconds."""
        return self.ensure(self._written, (key, value, expires or self.expires), **retry_policy)

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:
        """Follow a result; but not for the barrier of a group, of which the weak references are. It would be two commands and a
        connection for jobs that write none."""
        if weak:
            return result
        return super().add_pending_result(result, weak, start_drainer)  # type: ignore[call-arg]  # its stub is another's

    def _written(self, key: Any, value: Any, expires: int) -> None:
        with self.client.pipeline() as pipeline:
            pipeline.set(key, value, ex=expires)
            pipeline.publish(key, value)
            pipeline.execute()


__all__ = ["Backend"]
