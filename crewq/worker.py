"""A worker: the Celery app with crewq's jobs on it, and the host that comes and goes with each worker process."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery, signals
from celery.exceptions import Ignore

from crewq import errors
from crewq.app import PROBE_JOB, TASK_JOB, make_app
from crewq.heartbeat import Heartbeat
from crewq.host import Host
from crewq.jobs import run_job
from crewq.logs import at_rest, shape_logs
from crewq.settings import Settings
from crewq.store import Job, Store
from crewq.sweeper import Sweeper

log = logging.getLogger("crewq.worker")

PREFORK_WANTED = re.compile(r"(^| )(-P ?|--pool[= ])prefork( |$)")


class Worker:
    """What a worker process is made of. Under prefork there is one in the main process, which sweeps, and one in each
    child, which works; with crewq's own pool, one process does both.

    Args:
        settings: what the process was told from outside.
        keys: literal keys lent by crews of this same process (embedded mode).
    """

    def __init__(self, settings: Settings, keys: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.app: Celery = make_app(settings)
        self.app.conf.update(
            # A link of a chain is received in the moment that it is sent, and to tell of both costs a message more.
            task_send_sent_event=False,
            # One connection pool for the results, and not one for each thread of the pool.
            result_backend_thread_safe=True,
        )
        self._keys = keys
        self._lock = threading.Lock()
        self._hosts: dict[int, Host] = {}
        self._sweeper: Sweeper | None = None
        self._heartbeat: Heartbeat | None = None
        self._register_jobs()

    @property
    def host(self) -> Host:
        """The host of this process, made when it is first needed: after a fork, the child has its own."""
        with self._lock:
            if os.getpid() not in self._hosts:
                self._hosts = {os.getpid(): Host(self.settings, self.app, self._keys).start()}
            return self._hosts[os.getpid()]

    def sweep(self, slots: Callable[[], int] | None = None) -> None:
        """Begin to sweep in this process.

        Args:
            slots: how many tasks it works on at once; None: as many as the settings say.
        """
        self._sweeper = Sweeper(self.host, slots or (lambda: self.settings.concurrency)).start()

    def stop(self, grace: float = 0.0) -> None:
        """Hand back what does not end within `grace` seconds, and stop.

        Whatever was handed back is claimed by another worker, which finds every answer that was paid for in the journal.
        """
        if self._heartbeat:
            self._heartbeat.stop()
        if self._sweeper:
            self._sweeper.stop()
        self.host.drain(grace)
        self.host.close()

    def _register_jobs(self) -> None:
        def cancel(request: Any, **_: Any) -> None:
            """Flower's Terminate button and `celery control revoke` mean the run: else it would be sent again and again."""
            for _id, _kind, job in self.host.store.runs.find(request.id, ("task",)):
                if job:
                    self.host.cancel(job.run)

        # Not shared: a shared task would be on every other Celery app of this process too.
        @self.app.task(name=TASK_JOB, throws=(errors.JobFailed,), typing=False, shared=False)
        def task(*arguments: Any, **named: Any) -> None:
            try:
                job = Job.told(arguments, named)
            except errors.RecordBroken as error:
                log.warning("%s", error)
                raise Ignore from error
            run_job(self.host, job)

        @self.app.task(name=PROBE_JOB, typing=False, shared=False)
        def probe(lane: str, sent_ms: int) -> None:
            self.host.store.runs.note_delivery(lane, sent_ms)

        def rest(**_: Any) -> None:
            at_rest()  # not at the job's own end: Celery's line about that is about the task too

        signals.task_revoked.connect(cancel, sender=task, weak=False)
        signals.task_postrun.connect(rest, sender=task, weak=False)

    def follow_celery(self, grace: float) -> Worker:
        """Start and stop with the worker that `celery worker` runs, for `workers/app.py`.

        Args:
            grace: seconds that running tasks are given to end after a SIGTERM, before they are handed back.

        Raises:
            SettingInvalid: there is no address of a Redis.
        """
        if self.settings.redis_url is None:
            reason = "a worker needs the address of a Redis, such as redis://localhost:6379/0."
            raise errors.SettingInvalid(variable="CREWQ_REDIS_URL", value="", reason=reason)
        # Celery cannot tell `-P prefork` from its own default, to which it prefers the pool of the settings.
        if PREFORK_WANTED.search(" ".join(sys.argv)):
            self.app.conf.worker_pool = "prefork"

        def prepare(**_: Any) -> None:
            try:
                self._await_store()
                self.host.warm_up()
            except (errors.StoreError, errors.SettingInvalid) as error:
                sys.exit(str(error))  # of an ordinary exception in here, Celery would write a line and go on

        def begin_sweeping(sender: Any, **_: Any) -> None:
            self.sweep(lambda: int(sender.pool.num_processes))  # `-c` and `--autoscale` stand over the settings
            if file := self.settings.heartbeat_file:
                self._heartbeat = Heartbeat(self.host, file)

        def begin_draining(**_: Any) -> None:
            patience = 0.0 if self.host.draining.is_set() else grace  # a second signal: at once
            threading.Thread(target=self.host.drain, args=(patience,), name="crewq-drain", daemon=True).start()

        def leave(**_: Any) -> None:
            self.stop()

        shape_logs(self.settings)
        signals.worker_init.connect(prepare, weak=False)
        signals.worker_ready.connect(begin_sweeping, weak=False)
        signals.worker_shutting_down.connect(begin_draining, weak=False)
        signals.worker_shutdown.connect(leave, weak=False)
        return self

    def _await_store(self) -> None:
        """See that Redis is fit; one that is not there yet is waited for, and not in silence.

        Raises:
            StoreUnfit, StoreUnreachable: it cannot keep runs, or does not let this worker in.
        """
        store = Store(self.settings, connections=1)
        waits = True
        while waits:
            try:
                store.check()
                waits = False
            except errors.StoreUnreachable as error:
                if not error.retryable:
                    raise
                log.warning("waiting for Redis: %s", error)
        store.close()


__all__ = ["Worker"]
