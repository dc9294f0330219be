"""crewq without its memory: the same agent, event loop and pool of threads as plain Celery jobs. What dies is lost."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import cache

from celery import Celery

from benchmarks._crews import three_tasks
from crewq.agent import Brief, RetryingModel, Toolbox, build_model, invoke_directly, load_litellm, perform
from crewq.model import Model
from crewq.pool import interruptible
from crewq.references import Imports
from crewq.spec import CrewSpec

URL = os.environ.get("CREWQ_REDIS_URL", "")

app = Celery("forgetful", broker=URL, backend=URL, set_as_current=False)
app.conf.update(
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_hijack_root_logger=False,
    worker_pool="crewq.pool:CrewPool",
    task_default_queue="forgetful",
)
_making = threading.Lock()


@app.task(name="forgetful.ask")
def ask(context: str, text: str) -> str:
    """One task of the crew."""
    with _making:
        spec, model, loop = _spec(), _model(), _loop()
    task = spec.tasks[0].model_copy(update={"description": text})
    brief = Brief(agent=spec.agents[task.agent], task=task, context=context)
    future = asyncio.run_coroutine_threadsafe(_perform(brief, model), loop)
    with interruptible(future.cancel):
        return future.result()


async def _perform(brief: Brief, model: Model) -> str:
    return (await perform(brief, RetryingModel(model), Toolbox([], invoke_directly(None)))).text  # type: ignore[arg-type]


@cache
def _spec() -> CrewSpec:
    return three_tasks().spec()


@cache
def _model() -> Model:
    load_litellm()
    return build_model(_spec().agents[0].llm, Imports())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop
