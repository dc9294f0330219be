"""Celery's Redis backend, without the command of redis-py's that it uses and that redis-py warns of, and without what it does
for results that are never written.

Where warnings are errors, as in many a test suite, no result could be written. What is written is the same, so programs
with Celery's own backend read it.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend


class Backend(RedisBackend):
    """Writes results with SET where Celery's own uses SETEX, and does not follow the results of a group's jobs."""

    expires: int  # seconds that a result is kept: that of the app's settings

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
