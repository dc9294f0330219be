"""What one worker process has, once, for all its jobs: the store, the event loop, threads, leases, sandboxes, models."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import sys
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from celery import Celery

from crewq import errors
from crewq.agent import Provider, account_of, add_watchers, build_model, close_litellm, load_litellm
from crewq.agent.sandbox import Sandbox, open_sandbox
from crewq.gate import Gate
from crewq.hidden import Hidden
from crewq.leases import Leases
from crewq.plan import alike, publish
from crewq.sandboxes import check
from crewq.settings import Settings
from crewq.spec import CrewSpec, LLMSpec
from crewq.spool import Answer, Spool
from crewq.store import Call, Job, Store
from crewq.tracing import start_tracing

log = logging.getLogger("crewq.host")
Result = TypeVar("Result")

STORE_THREADS = 8  # a journal entry takes a fraction of a millisecond, so few threads serve hundreds of tasks
HASTE = 1.0  # seconds that an answer waits for Redis before it is put on disk
LEASE_PATIENCE = 1.0  # seconds: a renewal that fails is tried again anyway
SPECS_KEPT = 256
GUESTS_PATIENCE = 8.0  # seconds: the client of a server of tools kills it after four


class Host:
    """One worker process.

    Args:
        settings: what it was told from outside.
        app: where it publishes jobs.
        keys: literal keys lent by crews of this same process, by the LLM they are for (embedded mode).
    """

    def __init__(self, settings: Settings, app: Celery, keys: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.app = app
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.hide = Hidden(os.environ)
        self.store = Store(settings, patience=math.inf, connections=STORE_THREADS + settings.concurrency)
        self.leases = Leases(
            Store(
                settings, patience=LEASE_PATIENCE, connections=1, beside=self.store, answer_within=settings.lease / 3
            ),
            settings.lease,
        )
        # For an answer that was paid for: it must be safe soon, in Redis or else on disk.
        self._hasty = Store(
            settings, patience=HASTE, connections=STORE_THREADS, beside=self.store, answer_within=HASTE * 2
        )
        self.spool = Spool(settings.data_dir / "spool", self.store.seal, self.store.open)
        self.store_threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="crewq-store")
        self.tool_threads = ThreadPoolExecutor(settings.concurrency * 2, thread_name_prefix="crewq-tool")
        self.gate = Gate()
        self.draining = threading.Event()
        self._keys = keys if keys is not None else {}
        self._specs: dict[str, CrewSpec] = {}
        self._models: dict[str, Provider] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._opening = threading.Lock()
        self._guests: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._flush_spans = start_tracing(os.environ)
        self._thread = threading.Thread(target=self._loop.run_forever, name="crewq-loop", daemon=True)

    def start(self) -> Host:
        """Start the threads, and take over what workers that died have left."""
        self.spool.adopt(self.store.journal)
        self._thread.start()
        self.leases.start()
        return self

    def warm_up(self) -> None:
        """Load litellm now rather than in the first job: it takes seconds.

        Raises:
            SettingInvalid: somebody is to be told of its calls who cannot be found.
        """
        add_watchers(load_litellm(), self.settings.litellm_callbacks, self.settings.imports)

    def keep(self, answer: Answer) -> str:
        """Write a paid answer into the journal; on disk meanwhile, if Redis does not take it at once.

        Returns:
            The answer that stands: an earlier one, if there was one.
        """
        try:
            return answer.write(self._hasty.journal)
        except errors.StoreError as error:
            log.warning("an answer is kept in %s until Redis takes it: %s", self.settings.data_dir, error)
        with self.spool.holding(answer):
            return answer.write(self.store.journal)

    def tell(self, call: Call, agent: str, piece: str, offset: int, tool: str) -> None:
        """Tell who follows the run of a piece of an answer.

        Raises:
            StoreError: Redis does not take it at once; no answer waits for that.
        """
        self._hasty.journal.tell(call, agent, piece, offset, tool)

    # -- for a job -----------------------------------------------------------------------------------------

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine on the process's one event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def see_out(self, task: asyncio.Task[None]) -> None:
        """Have a task of the event loop end before this process does; what becomes of it is nobody's business any more."""
        self._guests.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._guests.discard(task)
        if not task.cancelled():
            task.exception()  # was looked at, as asyncio wants it

    async def _all_left(self) -> None:
        if self._guests:
            await asyncio.wait(set(self._guests), timeout=GUESTS_PATIENCE)

    def spec(self, digest: str) -> CrewSpec:
        """A crew by its digest, which never changes, so it is read once.

        Raises:
            UnknownId, SpecTooNew, RecordBroken: as the store.
        """
        if digest not in self._specs:
            if len(self._specs) >= SPECS_KEPT:
                self._specs.clear()
            self._specs[digest] = self.store.runs.spec(digest)
        return self._specs[digest]

    def model(self, llm: LLMSpec) -> Provider:
        """Who answers for `llm`.

        Raises:
            ReferenceRefused, ModelUnknown, SettingInvalid: it cannot be built here.
        """
        name = llm.model_dump_json()
        if name not in self._models:
            if llm.reference is None:
                self.warm_up()  # here, in the job's thread: the import takes seconds, and the event loop has none to give
            self._models[name] = build_model(llm, self.settings.imports, self._keys.get(name))
        return self._models[name]

    def account(self, llm: LLMSpec) -> str:
        """What the provider of `llm` counts its calls under."""
        return account_of(llm, self._keys.get(llm.model_dump_json()))

    def sandbox(self, name: str) -> Sandbox:
        """Where the code that models write is run.

        Raises:
            SandboxUnavailable: it cannot be used here, or not any more.
        """
        with self._opening:
            if name in self._sandboxes:
                check(name, self.settings.sandbox_image)
            else:
                self._sandboxes[name] = open_sandbox(
                    name,
                    self.settings.sandbox_image,
                    seconds=self.settings.sandbox_seconds,
                    memory_mb=self.settings.sandbox_memory_mb,
                )
            return self._sandboxes[name]

    def cancel(self, run: str) -> None:
        """End a run now, and let those go on that waited for its place."""
        _, ready = self.store.runs.cancel(run)
        self.publish(ready)

    def publish(self, jobs: tuple[Job, ...], *, urgent: bool = False) -> None:
        """Send the chains that begin with these jobs, of whatever runs. Those of a crew that this worker cannot read are
        left to one that can, and hold nobody else's up."""
        if not jobs:
            return
        for head, mine in alike(jobs, self.store.runs.heads(sorted({job.run for job in jobs}))):
            try:
                spec = self.spec(head.spec)
            except (errors.SpecTooNew, errors.RecordBroken, errors.UnknownId) as error:
                log.warning("the jobs of run %s are not sent: %s", head.run, error)
                continue
            publish(self.app, spec, mine, batch=bool(head.batch), urgent=urgent, priority=head.priority)

    # -- the end -------------------------------------------------------------------------------------------

    def drain(self, grace: float) -> None:
        """Claim nothing more, and hand back what has not ended within `grace` seconds."""
        self.draining.set()
        if not self.leases.wait_until_idle(grace):
            self.leases.lose_all("stopping")

    def close(self) -> None:
        """Stop the threads and give everything back."""
        self.draining.set()
        self.leases.lose_all("stopping")
        self.leases.wait_until_idle(5)
        self.submit(self._all_left()).result()
        if "litellm" in sys.modules:
            self.submit(close_litellm()).result(timeout=5)
        for sandbox in self._sandboxes.values():
            sandbox.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()
        self.leases.stop()
        self.tool_threads.shutdown(wait=False, cancel_futures=True)
        self.store_threads.shutdown(wait=True)
        self._flush_spans()
        if not self.settings.at_home:  # that server is stopped with the last who uses it
            self.store.wait_for_disk()
        self._hasty.close()
        self.store.close()
        self.spool.close()


__all__ = ["Host"]
