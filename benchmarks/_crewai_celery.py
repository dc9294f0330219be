"""The same crew on CrewAI as a Celery job, one for each kickoff: the app of the worker, and the producer.

Run by an interpreter that has both, without crewq: `python -m benchmarks._crewai_celery`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from celery import Celery

from benchmarks._crewai import three_tasks
from benchmarks._serve import serve

URL = os.environ["CREWQ_REDIS_URL"]
PATIENCE = 600.0  # seconds

app = Celery("crewai", broker=URL, backend=URL, set_as_current=False)
# As one does for long jobs: none waits behind another, and one whose worker dies is done again.
app.conf.update(worker_prefetch_multiplier=1, task_acks_late=True, task_default_queue="crewai")


@app.task(name="crewai.kickoff")
def kickoff(topic: str) -> str:
    """The crew as one job."""
    return str(three_tasks().kickoff({"topic": topic}))


def kickoffs(items: int) -> Iterator[object]:
    """So many jobs, awaited."""
    sent = [kickoff.delay(str(at)) for at in range(items)]
    for result in sent:
        yield result.get(timeout=PATIENCE)


if __name__ == "__main__":
    serve(kickoffs)
