"""crewq's pages in a real Flower, over HTTP, with real workers: what they tell, what their buttons do, and who may press."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crewq import Crew, Task
from crewq.producer import connect
from crewq.run import Run
from crewq.server import Server
from crewq.testing import call
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, agent, crew, scripted
from tests.integration.flower_process import NAME, FlowerProcess
from tests.integration.worker_process import WorkerProcess
from tests.waiting import until

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
PREFIX = "watch"


@pytest.fixture(scope="module")
def flower_of_fleet(tmp_path_factory: pytest.TempPathFactory, fleet_server: Server) -> Iterator[FlowerProcess]:
    with FlowerProcess(tmp_path_factory.mktemp("flower"), fleet_server.url, prefix=PREFIX) as process:
        yield process.ready()


@pytest.fixture
def flower(flower_of_fleet: FlowerProcess, fleet: WorkerProcess) -> FlowerProcess:
    return flower_of_fleet


def failing(name: str = "failing") -> Crew:
    broken = crew("Say {x}", "Go on", llm=Echo(poison="poison"), name=name)
    for one in broken.agents:
        one.max_retry_limit = 0
    return broken


def started(work: Crew, **inputs: Any) -> Run:
    run = work.kickoff_async(inputs=inputs)
    assert isinstance(run, Run)
    return run


def ended(run: Run) -> Run:
    until(lambda: run.record().state.ended, 30)
    return run


# -- one run ----------------------------------------------------------------------------------------------------------


def test_a_run_is_told_whole(flower: FlowerProcess) -> None:
    caller = agent(scripted(call("add", left=1, right=2), "It is 3."), role="Clerk of {place}")
    caller.tools = [crews.add]
    work = Crew(
        name="told",
        tasks=[
            Task(name="count", description="Count in {place}", expected_output="A number", agent=caller),
            Task(name="report", description="Report", expected_output="A text", agent=agent()),
        ],
    )
    run = ended(started(work, place="Tallinn"))
    facts = flower.data(f"/runs/{run.id}")
    assert (facts["state"], facts["crew"], facts["inputs"]) == ("completed", "told", {"place": "Tallinn"})
    count, report = facts["tasks"]
    assert (count["agent"], count["description"], count["output"]) == (
        "Clerk of Tallinn",
        "Count in Tallinn",
        "It is 3.",
    )
    assert [message["role"] for message in count["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert count["usage"]["total_tokens"] > 0
    assert report["context"] == ["count"]
    assert facts["output"] == report["output"]
    # A task's id, which is what Flower's own list shows, and the beginning of an id lead there too.
    assert flower.data(f"/runs/{count['id']}")["id"] == run.id
    assert flower.data(f"/runs/{run.id[:13]}")["id"] == run.id


def test_code_that_broke_is_shown_with_the_workers_traceback(flower: FlowerProcess) -> None:
    run = ended(started(failing(), x="poison"))
    first, second = flower.data(f"/runs/{run.id}")["tasks"]
    assert first["error"] == {"error": "JobBroken", "message": "ValueError: poisoned"}
    assert 'in complete\n    raise ValueError("poisoned")' in first["traceback"]
    assert (second["state"], second["traceback"]) == ("cancelled", "")


def test_what_a_model_says_is_data_and_never_markup(flower: FlowerProcess) -> None:
    run = ended(started(crew("Say {x}", name="hostile"), x=HOSTILE))
    answer = flower.get(f"/crewq/api/runs/{run.id}")
    assert HOSTILE in answer.json["output"]
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in (f"/crewq/runs/{run.id}", "/crewq/runs", f"/crewq/compare?a={run.id}&b={run.id}"):
        assert "onerror" not in flower.get(path).text
    for module in (Path(__file__).parents[2] / "crewq/pages/static").glob("*.js"):
        assert "innerHTML" not in module.read_text(), module.name


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/runs/ffffffff", 404, "There is no run or task 'ffffffff'"),
        ("/runs/ffffffff/events", 404, "There is no run or task"),
        ("/batches/ffffffff", 404, "There is no batch"),
        ("/compare?a=ffffffff&b=ffffffff", 404, "There is no run or task"),
        ("/compare?a=1", 400, "Say which two runs"),
        ("/runs?state=lost", 400, "no such state"),
        ("/runs?limit=many", 400, "whole number"),
        ("/runs?since=-5", 400, "whole number"),
        ("/runs?after=x.y", 400, "after must be"),
        ("/nothing", 404, "Not Found"),
        ("/runs/not-hex-ids-zz", 404, "Not Found"),
    ],
)
def test_what_is_not_there_or_not_meant_is_said(flower: FlowerProcess, path: str, status: int, words: str) -> None:
    answer = flower.get(f"/crewq/api{path}")
    assert (answer.status, words in answer.json["message"]) == (status, True), answer.text


# -- live -------------------------------------------------------------------------------------------------------------


def test_events_come_as_they_happen_and_go_on_after_the_last_that_was_seen(flower: FlowerProcess) -> None:
    run = started(crew("Say {x}", "Say more", llm=Echo(latency=0.3), name="live"), x="it")
    heard = flower.events(run.id)
    first = [next(heard) for _ in range(3)]
    heard.close()  # the connection breaks off
    seen = first[-1][0]
    rest = list(flower.events(run.id, after=seen))
    assert rest[-1][1] == "end"
    told = [(at, data["type"]) for at, _, data in [*first, *rest[:-1]]]
    assert told == [(event.id, event.type) for event in run.events()]
    assert [kind for _, kind in told][-1] == "run_completed"


def test_events_of_a_run_that_is_resumed_go_on(flower: FlowerProcess) -> None:
    run = started(crew("Say {x}", llm=Echo(latency=30), name="resumed"), x="it")
    until(lambda: run.status == "running")
    assert flower.act(f"/runs/{run.id}/cancel").status == 200
    heard = list(flower.events(run.id))
    assert [data.get("type") for _, _, data in heard[-2:]] == ["run_cancelled", None]
    assert flower.act(f"/runs/{run.id}/resume").status == 200
    assert next(flower.events(run.id, after=heard[-2][0]))[2]["type"] == "run_resumed"
    assert flower.act(f"/runs/{run.id}/cancel").status == 200


@pytest.mark.parametrize("after", ["soon", "1-0; drop", "99999999999999999999999-0"])
def test_a_place_that_is_none_is_refused(flower: FlowerProcess, after: str) -> None:
    run = ended(started(crew("Say {x}", name="place"), x="it"))
    answer = flower.get(f"/crewq/api/runs/{run.id}/events", Last_Event_ID=after)
    assert answer.status == 400
    assert "1234-0" in answer.json["message"]


def test_a_place_at_the_end_of_time_ends_at_once(flower: FlowerProcess) -> None:
    run = ended(started(crew("Say {x}", name="place"), x="it"))
    assert [kind for _, kind, _ in flower.events(run.id, after=f"{9 * 10**18}-0")] == ["end"]


# -- buttons ----------------------------------------------------------------------------------------------------------


def audit_of(subject: str) -> list[tuple[str, str, str]]:
    return [(one.who, one.action, one.detail) for one in connect().store.audit.latest(subject)]


def test_a_replay_from_a_task_with_an_edited_output_and_other_inputs(flower: FlowerProcess) -> None:
    run = ended(started(crew("Say {x}", "Go on with {x}", "End", name="again"), x="it"))
    first, second, _ = run.tasks
    body = {"task": second.id, "inputs": {"x": "that"}, "outputs": {first.id: "EDITED"}}
    answer = flower.act(f"/runs/{run.id}/replay", body)
    assert answer.status == 200, answer.text
    new = ended(Run(answer.json["run"]))
    assert new.tasks[0].output is not None
    assert new.tasks[0].output.raw == "EDITED"
    assert "EDITED" in str(new.tasks[1].output)
    assert "Go on with that" in str(new.tasks[1].output)
    assert flower.data(f"/runs/{new.id}")["parent"] == run.id
    assert flower.data(f"/runs/{run.id}")["replays"] == [new.id]
    compared = flower.data(f"/compare?a={run.id}&b={new.id}")
    assert ["new", "EDITED"] in compared["tasks"][0]["output"]
    (entry,) = audit_of(run.id)
    assert entry == (f"{NAME} from 127.0.0.1", "replay", f"task {second.id}; inputs: x; outputs: {first.id}")
    assert flower.data(f"/runs/{run.id}")["actions"][0]["action"] == "replay"


def test_a_run_is_cancelled_and_resumed(flower: FlowerProcess) -> None:
    run = started(crew("Say {x}", llm=Echo(latency=0.5), name="stopped"), x="it")
    assert flower.act(f"/runs/{run.id}/cancel").json == {"run": run.id, "cancelled": True}
    assert run.status == "cancelled"
    assert flower.act(f"/runs/{run.id}/resume").status == 200
    assert ended(run).status == "completed"
    late = flower.act(f"/runs/{run.id}/resume")
    assert (late.status, late.json["error"]) == (409, "NotNow")
    assert [action for _, action, _ in audit_of(run.id)] == ["resume failed", "resume", "resume", "cancel"]


def test_a_paused_run_is_answered(flower: FlowerProcess) -> None:
    task = Task(name="ask", description="Say {x}", expected_output="It", agent=agent(), human_input=True)
    run = started(Crew(name="asks", tasks=[task]), x="it")
    until(lambda: run.status == "paused", 20)
    (shown,) = flower.data(f"/runs/{run.id}")["tasks"]
    assert shown["asks"]
    assert "Say it" in shown["draft"]
    assert flower.act(f"/runs/{run.id}/answer", {"text": "PRIVATE words", "task": shown["id"]}).status == 200
    until(lambda: len(run.questions()) == 1 and run.questions()[0].attempt == 2, 20)
    assert flower.act(f"/runs/{run.id}/answer", {"task": shown["id"]}).status == 200
    assert ended(run).status == "completed"
    assert "PRIVATE" not in json.dumps(audit_of(run.id))


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("resume", {"call_in_doubt": "perhaps"}, "retry or skip"),
        ("answer", {"text": 5}, "text must be a text"),
        ("replay", {}, "There is no task"),
        ("replay", {"task": "TASK", "inputs": ["x"]}, "inputs must be an object"),
        ("replay", {"task": "TASK", "outputs": {"a": 5}}, "a text for each task"),
        ("replay", {"task": "TASK", "inputs": {"y": 1}}, "needs inputs that were not given: x"),
    ],
)
def test_a_button_that_cannot_be_meant_says_so(
    flower: FlowerProcess, action: str, body: dict[str, Any], words: str
) -> None:
    run = ended(started(failing("unmeant"), x="poison"))
    given = {name: run.tasks[0].id if value == "TASK" else value for name, value in body.items()}
    answer = flower.act(f"/runs/{run.id}/{action}", given)
    assert answer.status in (400, 404, 409)
    assert words in answer.json["message"]


def test_a_task_of_another_run_is_no_place_to_replay_from(flower: FlowerProcess) -> None:
    run, other = (ended(started(crew("Say {x}", name="other"), x="it")) for _ in range(2))
    assert flower.act(f"/runs/{run.id}/replay", {"task": other.tasks[0].id}).status == 404


@pytest.mark.parametrize("body", ["[1]", "{", "nonsense", "[" * 100_000])
def test_a_body_that_is_no_object_is_refused(flower: FlowerProcess, body: str) -> None:
    run = ended(started(crew("Say {x}", name="body"), x="it"))
    token = flower.token()
    path = f"/crewq/api/runs/{run.id}/cancel"
    answer = flower.ask("POST", path, body, X_XSRFToken=token, Cookie=f"_xsrf={token}")
    assert answer.status == 400
    assert "JSON" in answer.json["message"]


# -- who may press them -----------------------------------------------------------------------------------------------


def attempts(token: str) -> list[dict[str, Any]]:
    return [
        {},  # a form of another site: the browser adds login and cookie
        {"Cookie": f"_xsrf={token}"},
        {"X_XSRFToken": token},
        {"X_XSRFToken": "forged", "Cookie": "_xsrf=other"},
        {"X_XSRFToken": "", "Cookie": "_xsrf="},
        {"Cookie": f"_xsrf={token}", "Origin": "http://127.0.0.1"},
    ]


def test_no_page_but_ours_can_press_a_button(flower: FlowerProcess) -> None:
    run = started(crew("Say {x}", llm=Echo(latency=30), name="forged"), x="it")
    for headers in attempts(flower.token()):
        answer = flower.ask("POST", f"/crewq/api/runs/{run.id}/cancel", "{}", **headers)
        assert answer.status == 403, headers
    assert flower.act(f"/runs/{run.id}/cancel", login=False).status == 401
    assert flower.act(f"/runs/{run.id}/cancel", login="ada:wrong").status == 401
    assert flower.get(f"/crewq/api/runs/{run.id}/cancel").status == 405
    assert audit_of(run.id) == []
    assert run.status in ("queued", "running")
    run.cancel()


def test_without_a_password_buttons_need_the_token_all_the_same(tmp_path: Path, fleet: WorkerProcess) -> None:
    run = started(crew("Say {x}", llm=Echo(latency=30), name="open"), x="it")
    with FlowerProcess(tmp_path, fleet.url, locked=False) as flower:
        flower.ready()
        assert flower.ask("POST", f"/crewq/api/runs/{run.id}/cancel", "{}").status == 403
        assert flower.act(f"/runs/{run.id}/cancel").status == 200
    assert audit_of(run.id) == [("somebody from 127.0.0.1", "cancel", "")]


def test_a_flower_to_be_read_only_has_no_buttons(tmp_path: Path, fleet: WorkerProcess) -> None:
    run = started(crew("Say {x}", llm=Echo(latency=30), name="read only"), x="it")
    with FlowerProcess(tmp_path, fleet.url, "--read_only=true") as flower:
        flower.ready()
        assert 'data-read-only="yes"' in flower.get(f"/crewq/runs/{run.id}").text
        assert flower.act(f"/runs/{run.id}/cancel").status == 403
    assert run.cancel()


# -- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_counted_and_its_failures_are_retried(flower: FlowerProcess) -> None:
    inputs = [{"x": "poison" if at in (1, 4) else f"item {at}"} for at in range(6)]
    batch = failing("many").kickoff_for_each_async(inputs=inputs)
    until(lambda: batch.progress().ended is not None, 30)
    facts = flower.data(f"/batches/{batch.id}")
    assert (facts["total"], facts["completed"], facts["failed"]) == (6, 4, 2)
    assert [(one["item"], one["error"]) for one in facts["failures"]] == [
        (1, "ValueError: poisoned"),
        (4, "ValueError: poisoned"),
    ]
    assert sum(facts["seconds"]["counts"]) == 6
    assert sum(facts["cost"]["counts"]) == 6
    assert facts["per_second"] > 0
    assert facts["usage"]["total_tokens"] == 4 * 6
    runs = flower.data(f"/batches/{batch.id}/runs?limit=4")
    assert ([run["item"] for run in runs["runs"]], runs["next"]) == ([0, 1, 2, 3], 4)
    assert flower.data("/batches")["batches"][0]["id"] == batch.id
    answer = flower.act(f"/batches/{batch.id}/retry")
    assert answer.json["resumed"] == 2
    assert [action for _, action, _ in audit_of(batch.id)] == ["retry"]
    until(lambda: batch.progress().ended is not None, 30)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_no_key_and_no_password_is_on_any_page(own_redis: Server, start_worker: StartWorker, tmp_path: Path) -> None:
    password = str(urlsplit(own_redis.url).password)
    assert len(password) > 8
    keys = {"OPENAI_API_KEY": "sk-planted-4711-openai", "MISTRAL_API_KEY": "planted-4711-mistral"}
    start_worker(own_redis.url, **keys).ready()
    run = ended(started(failing("secret"), x="poison"))
    paths = [
        "/crewq/runs", f"/crewq/runs/{run.id}", "/crewq/api/runs", f"/crewq/api/runs/{run.id}", "/crewq/api/runs/ffff",
        f"/crewq/api/runs/{run.id}/events", f"/crewq/api/compare?a={run.id}&b={run.id}", "/crewq/api/totals",
        "/workers", "/tasks", "/broker", f"/task/{run.tasks[0].id}", "/api/tasks", "/api/workers", "/metrics",
    ]  # fmt: skip
    with FlowerProcess(tmp_path, own_redis.url, **keys) as flower:
        flower.ready()
        shown = "".join(flower.get(path).text for path in paths) + flower.log
    assert [secret for secret in [*keys.values(), password] if secret in shown] == []
    assert run.id in shown


def test_metrics_are_there_for_a_prometheus_that_logs_in(flower: FlowerProcess) -> None:
    assert flower.get("/crewq/metrics", login=False).status == 401
    answer = flower.get("/crewq/metrics")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["crewq_workers"].samples[0].value >= 1
    assert not [name for name in families if not name.startswith("crewq_")], "Flower's own are at its /metrics"


def test_it_stops_when_it_is_told_to_while_somebody_listens(tmp_path: Path, fleet: WorkerProcess) -> None:
    run = started(crew("Say {x}", llm=Echo(latency=30), name="listened"), x="it")
    with FlowerProcess(tmp_path, fleet.url) as flower:
        heard = flower.ready().events(run.id)
        next(heard)
        flower.process.send_signal(signal.SIGTERM)
        assert flower.process.wait(15) == 0
    run.cancel()
