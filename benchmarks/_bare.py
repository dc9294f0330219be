"""The baseline: plain Celery jobs that make the same litellm calls, and keep nothing."""

from __future__ import annotations

import os

from celery import Celery

URL = os.environ.get("CREWQ_REDIS_URL", "")

app = Celery("bare", broker=URL, backend=URL, set_as_current=False)
app.conf.update(worker_prefetch_multiplier=1, worker_hijack_root_logger=False, task_default_queue="bare")


@app.task(name="bare.ask")
def ask(context: str, text: str) -> str:
    """One model call, as a task of a crew makes it."""
    import litellm

    answer = litellm.completion(
        model=os.environ["BENCH_MODEL"],
        api_base=os.environ["BENCH_MODEL_URL"],
        messages=[
            {"role": "system", "content": "You are a writer."},
            {"role": "user", "content": f"{text}\n{context}"},
        ],
        num_retries=0,
        max_retries=0,
    )
    return str(answer.choices[0].message.content)
