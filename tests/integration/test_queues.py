"""Work that goes to the workers that have what it needs."""

from __future__ import annotations

from contextlib import closing

from crewq import Crew, Task
from crewq.server import Server
from crewq.settings import Settings
from crewq.store import Store
from tests.integration.conftest import StartWorker
from tests.integration.crews import agent
from tests.waiting import until


def test_a_crew_an_agent_and_a_task_say_which_workers(own_redis: Server, start_worker: StartWorker) -> None:
    workers = {name: start_worker(own_redis.url, "-Q", name) for name in ("office", "gpu", "press")}
    places = {worker.ready().process.pid: name for name, worker in workers.items()}
    writer, painter = agent(), agent(role="Painter", queue="gpu")
    tasks = [
        Task(description="Write", agent=writer),
        Task(description="Draw", agent=painter),
        Task(description="Print", agent=painter, queue="press"),
        Task(description="Post", agent=writer),
    ]
    crew = Crew(queue="office", tasks=tasks)
    run = crew.kickoff_async()
    run.result(30)
    again = crew.replay_async(run.task_ids[2])
    again.result(30)
    batch = crew.kickoff_for_each_async([{}, {}])
    batch.results(30)
    for one in (run, again, *batch.runs):
        at = [places[int((task.worker or ":0").rpartition(":")[2])] for task in one.tasks if not task.kept]
        assert at == ["office", "gpu", "press", "office"][-len(at) :]


def test_a_worker_says_how_many_tasks_it_takes_on(own_redis: Server, start_worker: StartWorker) -> None:
    start_worker(own_redis.url, "-c", "3").ready()
    start_worker(own_redis.url, "-P", "prefork", "-c", "2").ready()
    with closing(Store(Settings(redis_url=own_redis.url))) as store:
        until(lambda: sorted(one["concurrency"] for one in store.runs.workers().values()) == [2, 3], 20)
