"""The same four tasks on Celery alone, in the two ways that people write them: one job per kickoff, one job per task."""

from __future__ import annotations

import json
import os
import urllib.request

from celery import Celery

TASKS = 4

app = Celery("naive", broker=os.environ["NAIVE_REDIS"], backend=os.environ["NAIVE_REDIS"], set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
if "NAIVE_VISIBILITY" in os.environ:
    seconds = int(os.environ["NAIVE_VISIBILITY"])
    app.conf.broker_transport_options = {"visibility_timeout": seconds, "unacked_restore_throttle": 1}


def ask(task: int, context: str) -> str:
    """One call to the model."""
    prompt = f"task {task}\n{context}"
    body = json.dumps({"model": "any", "messages": [{"role": "user", "content": prompt}]}).encode()
    request = urllib.request.Request(f"{os.environ['NAIVE_MODEL']}/chat/completions", body)
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


@app.task(name="kickoff")
def kickoff() -> str:
    """The crew as one job."""
    context = ""
    for task in range(TASKS):
        context = ask(task, context)
    return context


@app.task(name="step")
def step(context: str, task: int) -> str:
    """One task of the crew as one job."""
    return ask(task, context)
