"""crewq's list of runs in Flower with thousands of them: paged, filtered, summed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewq.plan import new_tasks, task_id
from crewq.producer import connect
from crewq.server import Server
from crewq.store import NewRun, Order, Store
from tests.integration.flower_process import FlowerProcess
from tests.store.world import ROW

RUNS = 2_000


@pytest.fixture
def thousands(own_redis: Server, tmp_path: Path) -> Iterator[tuple[FlowerProcess, list[str]]]:
    """Two thousand runs without a worker, of two crews, the newest first; and a Flower that shows them."""
    store: Store = connect().store
    made: list[str] = []
    for at in range(0, RUNS, 250):
        spec = ROW.model_copy(update={"name": f"crew {at // 1000}"})
        runs = [(str(uuid.uuid4()), number) for number in range(at, at + 250)]
        new = [NewRun(run, {"n": number}, tuple(task_id(run, index) for index in range(3))) for run, number in runs]
        store.runs.create(Order(spec=spec, tasks=new_tasks(spec, batch=False)), new)
        made += [run for run, _ in runs]
    with FlowerProcess(tmp_path, own_redis.url) as process:
        yield process.ready(), made


def pages(flower: FlowerProcess, query: str) -> Iterator[list[str]]:
    after = ""
    while True:
        answer = flower.data(f"/runs?{query}&after={after}")
        yield [run["id"] for run in answer["runs"]]
        after = answer["next"]
        if not after:
            return


def test_thousands_of_runs_are_paged_filtered_and_summed(thousands: tuple[FlowerProcess, list[str]]) -> None:
    flower, made = thousands
    store = connect().store
    assert flower.data("/runs?limit=10")["counts"]["queued"] == RUNS
    found = [run for page in pages(flower, "limit=200") for run in page]
    assert (len(found), set(found)) == (RUNS, set(made))
    for run in made[100:400:3]:
        store.runs.cancel(run)
    in_state = [run for page in pages(flower, "limit=30&state=cancelled") for run in page]
    assert sorted(in_state) == sorted(made[100:400:3])
    assert flower.data("/runs")["counts"] | {"queued": 0} == {
        "queued": 0, "running": 0, "paused": 0, "completed": 0, "failed": 0, "cancelled": 100,
    }  # fmt: skip
    of_crew = [run for page in pages(flower, "limit=150&crew=CREW+1") for run in page]
    assert sorted(of_crew) == sorted(made[1000:])
    assert [run for page in pages(flower, f"text={made[7][:13]}") for run in page] == [made[7]]
    assert flower.data("/totals?crew=crew+0")["runs"] == 1000
    assert flower.data("/totals?state=cancelled") | {"usage": None} == {"runs": 100, "usage": None, "all": True}


def test_a_page_stays_where_it_was_while_runs_come_and_go(thousands: tuple[FlowerProcess, list[str]]) -> None:
    flower, _ = thousands
    store = connect().store
    first = flower.data("/runs?limit=50")
    following = flower.data(f"/runs?limit=50&after={first['next']}")["runs"]
    new = str(uuid.uuid4())
    tasks = new_tasks(ROW, batch=False)
    store.runs.create(Order(spec=ROW, tasks=tasks), [NewRun(new, {}, tuple(task_id(new, at) for at in range(3)))])
    assert flower.data("/runs?limit=1")["runs"][0]["id"] == new
    assert flower.data(f"/runs?limit=50&after={first['next']}")["runs"] == following


def test_runs_are_found_by_their_time(thousands: tuple[FlowerProcess, list[str]]) -> None:
    flower, made = thousands
    runs = connect().store.runs
    moment = int(runs.read(made[999]).created.timestamp() * 1000)
    older = [run for page in pages(flower, f"limit=200&until={moment}") for run in page]
    newer = [run for page in pages(flower, f"limit=200&since={moment + 1}") for run in page]
    assert set(older) | set(newer) == set(made)
    assert set(older) & set(newer) == set()
    assert made[0] in older
    assert made[-1] in newer
