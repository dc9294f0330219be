"""The same calls on dramatiq, as its documentation has it: a pipeline of actors over Redis, with results.

The worker is `dramatiq benchmarks._dramatiq`; the producer `python -m benchmarks._dramatiq`. Both without crewq.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import dramatiq  # type: ignore[import-not-found]
import redis
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]
from dramatiq.results import Results  # type: ignore[import-not-found]
from dramatiq.results.backends import RedisBackend  # type: ignore[import-not-found]

from benchmarks._call import ask_model
from benchmarks._serve import serve

URL = os.environ["CREWQ_REDIS_URL"]
TASKS = int(os.environ.get("BENCH_TASKS", "3"))
PATIENCE = 600_000  # milliseconds

broker = RedisBroker(url=URL)
# By itself, redis-py gives up after some seconds what may block for longer, such as to wait for a result.
broker.add_middleware(Results(backend=RedisBackend(client=redis.Redis.from_url(URL, socket_timeout=None))))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)  # type: ignore[untyped-decorator]
def ask(text: str, context: str = "") -> str:
    """One actor of a pipeline, which is given last what the one before it said."""
    return ask_model(context, text)


def pipelines(items: int) -> Iterator[object]:
    """So many runs, awaited."""
    sent = [(ask.message(f"topic {at}") | ask.message("step 1") | ask.message("step 2")).run() for at in range(items)]
    for pipeline in sent:
        yield pipeline.get_result(block=True, timeout=PATIENCE)


def _pipeline(topic: str) -> dramatiq.pipeline:
    return dramatiq.pipeline([ask.message(topic), *(ask.message(f"step {at}") for at in range(1, TASKS))])


if __name__ == "__main__":
    serve(pipelines)
