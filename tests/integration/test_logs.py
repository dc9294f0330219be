"""The log of a real worker, with CREWQ_LOG=json."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from crewq import Crew, Task, errors
from crewq.server import Server
from crewq.testing import call
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, agent, mutter, scripted
from tests.integration.worker_process import WorkerProcess

SECRET = "TOP-SECRET-7391"


def lines(worker: WorkerProcess) -> list[dict[str, Any]]:
    """All that the worker has said: each line is JSON, or this fails; but for what Celery writes from its signal handler."""
    return [
        json.loads(line) for line in worker.log.splitlines() if line and not line.startswith("worker: Warm shutdown")
    ]


@pytest.mark.parametrize("pool", ["crewq", "prefork"])
def test_each_line_is_json_and_names_its_task_and_none_tells_what_is_said(
    own_redis: Server, start_worker: StartWorker, pool: str
) -> None:
    options = ("-P", "prefork", "-c", "2") if pool == "prefork" else ()
    worker = start_worker(own_redis.url, *options, CREWQ_LOG="json").ready()
    llm = scripted(call("mutter", word=SECRET), f"The answer {SECRET}.")
    ask = Task(name="ask", description=f"Ask {SECRET} {{x}}", agent=agent(llm, tools=[mutter]))
    good = Crew(name="mutterers", tasks=[ask])
    run = good.kickoff_async(inputs={"x": SECRET})
    assert SECRET in run.result(30).raw
    bad = Crew(
        name="failing", tasks=[Task(description="poison", agent=agent(Echo(poison="poison"), max_retry_limit=0))]
    )
    failed = bad.kickoff_async()
    with pytest.raises(errors.RunFailed):
        failed.result(30)
    worker.terminate()
    worker.exit_status()
    found = lines(worker)
    assert SECRET not in worker.log

    if os.geteuid() == 0:
        assert "superuser" in found[0]["message"], "what Celery says before its logs are set up"

    def about(**facts: Any) -> list[dict[str, Any]]:
        return [line for line in found if facts.items() <= line.items()]

    (muttered,) = about(logger="my.tools")
    ids = {"run": run.id, "task": run.task_ids[0], "attempt": 1, "crew": "mutterers"}
    assert muttered["message"] == "muttering\nin two lines"
    assert ids.items() <= muttered.items()
    assert [line for line in about(**ids) if "succeeded" in line["message"]]
    assert [line for line in about(task=run.task_ids[0]) if "received" in line["message"]]
    assert [line for line in about(run=failed.id, crew="failing") if "JobFailed" in line["message"]]
    assert not [line for line in found if "ready." in line["message"] and "run" in line]
