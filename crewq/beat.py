"""The scheduler of `celery beat` that starts the runs of crewq's schedules. Any number of beats may run at once.

Two of them see the same times, and start the same runs: see `firing`. Nothing is kept in this process or on its disk.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, beat

from crewq import errors
from crewq.firing import look_at
from crewq.producer import Producer
from crewq.settings import Settings
from crewq.store import ScheduleRecord

log = logging.getLogger("crewq.beat")

LOOKS_EVERY = 5  # seconds at most between two looks at the store, where a schedule may have come or gone
RETRIES_AFTER = 1.0  # seconds, where the store is not there


class Scheduler(beat.Scheduler):
    """Starts runs when their time comes; entries of Celery's own `beat_schedule` are sent as ever.

    Args:
        app: the Celery app that `celery beat` was given.
        settings: where Redis is; None: what the environment says.

    Raises:
        SettingInvalid: there is no address of a Redis.
    """

    max_interval = LOOKS_EVERY

    def __init__(self, app: Celery, *arguments: Any, settings: Settings | None = None, **named: Any) -> None:
        self.settings = settings or Settings.from_env(os.environ)
        if self.settings.redis_url is None:
            reason = "a beat needs the address of a Redis, such as redis://localhost:6379/0."
            raise errors.SettingInvalid(variable="CREWQ_REDIS_URL", value="", reason=reason)
        self._producer: Producer | None = None
        self._skipped: dict[str, str] = {}
        super().__init__(app, *arguments, **named)

    def setup_schedule(self) -> None:
        """Called where it is to work, and is not only asked what it is."""
        super().setup_schedule()
        self._producer = Producer(self.settings)

    def tick(self, *arguments: Any, **named: Any) -> float:
        """Start what is due; answers the seconds until the next look."""
        self._touch(self.settings)
        # Celery's own entries wait no longer for a look than they would for each other.
        own = float(super().tick(*arguments, **named))
        return min(own, self._look())

    def _look(self) -> float:
        assert self._producer is not None, "Celery calls setup_schedule before it has a scheduler work"
        try:
            due = self._producer.store.schedules.due()
            for broken in due.unreadable:
                self._skip(self._producer, broken.name, broken.error, due.now)
            for record in due.schedules:
                self._look_at(self._producer, record, due.now)
        except errors.StoreError as error:
            log.warning("cannot look at the schedules: %s", error)
            return RETRIES_AFTER
        if due.schedules or due.unreadable:
            return 0.0
        until = (due.following - due.now) / 1000 if due.following else self.max_interval
        return min(until, float(self.max_interval))

    def _look_at(self, producer: Producer, record: ScheduleRecord, now: int) -> None:
        try:
            look_at(producer, record, now)
            self._skipped.pop(record.name, None)
        except errors.RecordBroken as error:
            self._skip(producer, record.name, error, now)

    def _skip(self, producer: Producer, name: str, error: errors.RecordBroken, now: int) -> None:
        """One that cannot be read holds no other up, and is told of once."""
        if self._skipped.get(name) != str(error):
            self._skipped[name] = str(error)
            log.error("the schedule %r starts no runs: %s", name, error)
        producer.store.schedules.set_aside(name, now)

    def _touch(self, settings: Settings) -> None:
        if settings.heartbeat_file:
            try:
                settings.heartbeat_file.touch()
            except OSError as error:
                log.warning("%s cannot be touched: %s", settings.heartbeat_file, errors.explain(error))

    def close(self) -> None:
        """Give everything back."""
        super().close()
        if self._producer:
            self._producer.close()
        if self.settings.heartbeat_file:
            self.settings.heartbeat_file.unlink(missing_ok=True)

    @property
    def info(self) -> str:
        """What Celery's banner says of it."""
        return f"    . schedules -> {self.settings.where}"


__all__ = ["Scheduler"]
