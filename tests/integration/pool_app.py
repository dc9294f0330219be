"""A Celery app on crewq's pool, for test_pool.py; what a task lives through is written to a list in Redis."""

import os
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from redis import Redis

from crewq.pool import Interrupted, interruptible

url = os.environ["POOL_APP_REDIS"]
app = Celery("tests.integration.pool_app", broker=url, backend=url, set_as_current=False)
app.conf.update(
    worker_pool="crewq.pool:CrewPool",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
redis = Redis.from_url(url, decode_responses=True)
together = threading.Barrier(4)


def saw(task: Task[Any, Any], what: str) -> None:
    redis.rpush(f"seen:{task.request.id}", what)


def told(body: Any) -> Any:
    """A task that tells when it begins and what interrupts it, and lets that pass."""

    def run(self: Task[Any, Any], seconds: float) -> str:
        try:
            saw(self, "begun")
            body(seconds)
        except (Interrupted, SoftTimeLimitExceeded) as interrupt:
            saw(self, type(interrupt).__name__)
            raise
        return "slept well"

    return app.task(bind=True, name=body.__name__)(run)


@told
def wait(seconds: float) -> None:
    """As a job does: wait for another thread."""
    future: Future[None] = Future()
    with suppress(TimeoutError), interruptible(future.cancel):
        future.result(timeout=seconds)


@told
def compute(seconds: float) -> None:
    """In Python code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@told
def block(_: float) -> None:
    """In a C call, which nothing interrupts, until somebody opens the gate at its other end."""
    os.close(os.open(os.environ["POOL_APP_GATE"], os.O_RDONLY))


@app.task(name="tidy")
def tidy() -> str:
    """Uses the time between the soft and the hard limit."""
    try:
        future: Future[None] = Future()
        with interruptible(future.cancel):
            future.result()
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


@app.task(name="meet")
def meet() -> str:
    """Ends only if four of it run at once."""
    together.wait(timeout=10)
    return "met"
