"""The same calls on DBOS, as its documentation has it: a workflow of steps. One is started, and many are enqueued.

Its state is in SQLite, DBOS's default, or in the Postgres of `DBOS_SYSTEM_DATABASE_URL`. Workflows run in the very process
that starts them: `python -m benchmarks._dbos THREADS`, without crewq.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from dbos import DBOS, DBOSConfig  # type: ignore[import-not-found]

from benchmarks._call import ask_model
from benchmarks._serve import serve

QUEUE = "bench"
TASKS = int(os.environ.get("BENCH_TASKS", "3"))


@DBOS.step()  # type: ignore[untyped-decorator]
def ask(context: str, text: str) -> str:
    """One step."""
    return ask_model(context, text)


@DBOS.workflow()  # type: ignore[untyped-decorator]
def steps(topic: str) -> str:
    """A workflow, each step of which is given what the one before it said."""
    context = ask("", f"topic {topic}")
    for at in range(1, TASKS):
        context = ask(context, f"step {at}")
    return context


def workflows(items: int) -> Iterator[object]:
    """So many runs, awaited."""
    if items == 1:
        yield DBOS.start_workflow(steps, "0").get_result()
        return
    handles = [DBOS.enqueue_workflow(QUEUE, steps, str(at)) for at in range(items)]
    for handle in handles:
        yield handle.get_result()


def launch(threads: int) -> None:
    """Be ready for work, and go on with what was left undone."""
    state = os.environ.get("DBOS_SYSTEM_DATABASE_URL", f"sqlite:///{os.environ['BENCH_FOLDER']}/dbos.sqlite")
    config: DBOSConfig = {"name": "bench", "system_database_url": state, "max_executor_threads": threads}
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE)


if __name__ == "__main__":
    launch(int(sys.argv[1]))
    serve(workflows)
