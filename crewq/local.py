"""Embedded mode: no Redis and no workers of your own. A real server in the working directory, and a real worker in this
process, both gone with it; what they did stays, for `crewq runs` and `replay` and the next start."""

from __future__ import annotations

import os
import socket
import sysconfig
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from celery.exceptions import WorkerShutdown
from kombu.asynchronous import set_event_loop

from crewq.pool import CrewPool
from crewq.producer import Producer
from crewq.references import Imports, main_queue
from crewq.server import join
from crewq.settings import Settings
from crewq.worker import Worker

POLL_SECONDS = 0.2  # how long Celery waits for a message at a time, and so how long its end takes


def start(settings: Settings, *, work: bool = True) -> Producer:
    """Join or start the server of the working directory, and, with `work`, work on what is there in this process.

    Raises:
        StoreError: the server cannot be started.
    """
    server = join(settings.data_dir)
    trusted: set[str] = set()
    imports = Imports(settings.imports.allowed, local=lambda module: module in trusted or is_own(module))
    keys: dict[str, str] = {}
    found = settings.with_(redis_url=server.url, imports=imports, at_home=True)
    worker = EmbeddedWorker(found, keys) if work else None

    def lend(modules: set[str], lent: dict[str, str]) -> None:
        trusted.update(modules)
        keys.update(lent)

    def stop() -> None:
        if worker:
            worker.stop()
        server.close()

    return Producer(found, given=settings, stop=stop, lend=lend)


def is_own(module: str) -> bool:
    """Whether a module is part of the user's own program: neither Python's own nor an installed package."""
    if module == "__main__":
        return True
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    if spec is None or not spec.origin or not spec.has_location:
        return False
    installed = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(Path(spec.origin).is_relative_to(path) for path in installed)


# Celery has every worker of a process take the same event loop, from a global of kombu. Two directories in one process
# (two tests, say) have a worker each, on a thread each, and those would read each other's connections: one waits for ever.
_making_a_loop = threading.Lock()


def _shut_down() -> None:
    """Called in a worker's loop, it ends that worker. Celery's own way is a global too, which would end all of them."""
    raise WorkerShutdown(os.EX_OK)


class EmbeddedPool(CrewPool):
    """The pool of a worker that shares its process with a person's program.

    Celery lets nothing wait for a result in the process of a worker, lest tasks wait for each other for ever. Here the
    program may, which is no task: `run.async_result.get()`.
    """

    task_join_will_block = False


class EmbeddedWorker:
    """A Celery worker on threads of this process."""

    def __init__(self, settings: Settings, keys: dict[str, str]) -> None:
        self._worker = Worker(settings, keys)
        app = self._worker.app
        app.conf.broker_transport_options = {**app.conf.broker_transport_options, "polling_interval": POLL_SECONDS}
        self._worker.sweep()
        with _making_a_loop:
            set_event_loop(None)
            self._controller: Any = app.WorkController(
                hostname=f"crewq-{os.getpid()}@{socket.gethostname()}",
                concurrency=settings.concurrency,
                pool=EmbeddedPool,
                queues=[settings.queue, main_queue(settings.queue)],
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            )
            set_event_loop(None)
        self._thread = threading.Thread(target=self._work, name="crewq-worker", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        self._worker.app.set_current()
        self._controller.start()

    def stop(self) -> None:
        """Hand back what is under way, and stop. The next start, or another process in this directory, goes on with it."""
        self._worker.host.drain(0)
        if hub := self._controller.hub:
            hub.call_soon(_shut_down)
        self._thread.join(timeout=5)
        self._worker.stop()


__all__ = ["EmbeddedPool", "EmbeddedWorker", "is_own", "start"]
