"""The baseline: plain Celery jobs that make the same litellm calls, and keep nothing."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks._call import ask_model

URL = os.environ.get("CREWQ_REDIS_URL", "")

app = Celery("bare", broker=URL, backend=URL, set_as_current=False)
app.conf.update(worker_prefetch_multiplier=1, worker_hijack_root_logger=False, task_default_queue="bare")


@app.task(name="bare.ask")
def ask(context: str, text: str) -> str:
    """One job of a chain."""
    return ask_model(context, text)
