"""Celery's Redis backend, without the command of redis-py's that it uses and that redis-py warns of.

Where warnings are errors, as in many a test suite, no result could be written. What is written is the same, so programs
with Celery's own backend read it.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend


class Backend(RedisBackend):
    """Writes results with SET where Celery's own uses SETEX."""

    expires: int  # seconds that a result is kept: that of the app's settings

    def set(self, key: Any, value: Any, expires: int | None = None, **retry_policy: Any) -> Any:
        """Write a result, and tell who waits for it; `expires` is in seconds."""
        return self.ensure(self._written, (key, value, expires or self.expires), **retry_policy)

    def _written(self, key: Any, value: Any, expires: int) -> None:
        with self.client.pipeline() as pipeline:
            pipeline.set(key, value, ex=expires)
            pipeline.publish(key, value)
            pipeline.execute()


__all__ = ["Backend"]
