"""Listens to Celery's events, as Flower does, and keeps those that tell what they must not."""

from __future__ import annotations

import threading
from typing import Self

import redis

from tests.chaos.evidence import tells_a_secret

READ_SECONDS = 0.5


class Listener:
    """A subscriber to everything that is said on Redis's channels, in a thread, as a context manager."""

    def __init__(self, url: str) -> None:
        self.heard = 0
        self.secrets: list[str] = []
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except (redis.RedisError, OSError):
                self._stopping.wait(0.1)  # Redis is away, and events are lost with that, as they are for Flower

    def _read(self) -> None:
        with redis.Redis.from_url(self._url) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
            channel.psubscribe("*")
            while not self._stopping.is_set():
                if message := channel.get_message(timeout=READ_SECONDS):
                    self.heard += 1
                    if tells_a_secret(message["data"]):
                        self.secrets.append(f"event on {message['channel']!r}")


__all__ = ["Listener"]
