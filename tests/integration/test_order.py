"""The order of tasks over real HTTP, in a real worker: what runs side by side, what waits for what, and what each is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from crewq import LLM, Batch, Crew, Run, Task, errors
from crewq.events import CallFinished
from tests.integration import crews
from tests.integration.crews import Person, agent
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import Behaviour, Call, ModelServer, Request, prompt_of, text

SECONDS = 0.5  # of each answer


def about(request: Request) -> str:
    """The task that a model is asked about."""
    return prompt_of(request).removeprefix("Your task:\n").splitlines()[0]


def says_its_name(request: Request) -> Behaviour:
    return text(f"said by {about(request)}")


def calls_by_task(server: ModelServer) -> dict[str, Call]:
    found = {about(call.request): call for call in server.ledger}
    assert len(found) == len(server.ledger), "each is asked once"
    return found


def overlap(one: Call, other: Call) -> bool:
    assert one.ended
    assert other.ended
    return one.started < other.ended and other.started < one.ended


def test_a_graph_of_tasks_of_which_several_async_ones_end_it(fleet: WorkerProcess) -> None:
    with ModelServer(says_its_name, latency=SECONDS) as server:
        who = agent(LLM(model="openai/any", base_url=server.url))

        def task(name: str, **fields: object) -> Task:
            return Task(**{"description": name, "name": name.lower(), "agent": who} | fields)

        first = task("First")
        left, right = task("Left", async_execution=True), task("Right", async_execution=True)
        joined = task("Joined")
        of_left = task("Of left", async_execution=True, context=[left])
        alone = task("Alone", async_execution=True, context=[])
        output = Crew(tasks=[first, left, right, joined, of_left, alone]).kickoff()
        calls = calls_by_task(server)
    assert overlap(calls["Left"], calls["Right"]), "of one agent"
    assert overlap(calls["Of left"], calls["Alone"])
    assert not overlap(calls["First"], calls["Left"])
    assert not overlap(calls["Right"], calls["Joined"])
    told = {name: {other for other in calls if f"said by {other}" in call.prompt} for name, call in calls.items()}
    assert told == {
        "First": set(),
        "Left": {"First"},
        "Right": {"First"},
        "Joined": {"First", "Left", "Right"},
        "Of left": {"Left"},
        "Alone": set(),
    }
    assert [done.name for done in output.tasks_output] == ["first", "left", "right", "joined", "of left", "alone"]
    assert output.raw == "said by Alone"


def in_a_circle() -> Crew:
    one, other = (Task(description=name, name=name, agent=agent()) for name in ("one", "other"))
    one.context, other.context = [other], [one]
    return Crew(tasks=[one, other])


def of_itself() -> Crew:
    one = Task(description="one", name="one", agent=agent())
    one.context = [one]
    return Crew(tasks=[one])


@pytest.mark.parametrize("work", [in_a_circle, of_itself])
def test_a_circle_is_an_error_at_kickoff(nothing_started: None, work: Callable[[], Crew]) -> None:
    with pytest.raises(errors.ContextComesLater, match="'one'"):
        work().kickoff()


# -- what there is afterwards ------------------------------------------------------------------------------------------

READ = """
import sys
from crewq import Run
sys.stdout.write(Run(sys.argv[1]).result(10).tasks_output[0].raw)
"""


def test_a_file_is_written_by_the_worker_and_what_is_in_it_is_read_from_anywhere(
    fleet: WorkerProcess, model_server: ModelServer
) -> None:
    model_server.enqueue("Grüße", '{"name": "Ada", "age": 36}')
    who = agent(LLM(model="openai/any", base_url=model_server.url))
    tasks = [
        Task(description="Report on {month}.", agent=who, output_file="over-http/{month}.md"),
        Task(description="Name her.", agent=who, output_json=Person, output_file="/over-http/{month}.json"),
    ]
    output = Crew(tasks=tasks).kickoff({"month": "may"})
    assert (fleet.output_dir / "over-http/may.md").read_text("utf-8") == "Grüße"
    assert Person.model_validate_json((fleet.output_dir / "over-http/may.json").read_text()).name == "Ada"
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    command = [sys.executable, "-c", READ, output.run_id]
    read = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert read.stdout == "Grüße"


def test_a_callback_that_fails_loses_nothing_that_was_paid_for(fleet: WorkerProcess, model_server: ModelServer) -> None:
    notes = fleet.output_dir.parent / "notes"
    notes.unlink(missing_ok=True)
    model_server.enqueue("Fine.", "Fine again.")
    who = agent(LLM(model="openai/any", base_url=model_server.url), step_callback=crews.failing)
    tasks = [Task(description="Do it.", agent=who, callback=crews.failing), Task(description="Go on.", agent=who)]
    run = Crew(tasks=tasks, task_callback=crews.on_task).kickoff_async()
    assert run.result(20).raw == "Fine again."
    assert len(model_server.ledger) == 2
    assert notes.read_text().splitlines() == ["on_task Fine.", "on_task Fine again."]
    assert Counter(event.type for event in run.events())["task_warned"] == 3


# -- what it cost ------------------------------------------------------------------------------------------------------


def test_each_call_task_run_and_batch_has_what_it_cost(fleet: WorkerProcess) -> None:
    """Two agents share one model: nothing is counted for each of them."""
    with ModelServer(says_its_name) as server:
        llm = LLM(model="openai/any", base_url=server.url, input_cost_per_token=0.25, output_cost_per_token=2.0)
        tasks = [Task(description=f"{role} {{x}}", agent=agent(llm, role=role)) for role in ("Read", "Write")]
        batch = Crew(tasks=tasks).kickoff_for_each_async([{"x": "a"}, {"x": "a b c"}])
        outputs = batch.results(20)
        paid = {about(call.request): _cost(call) for call in server.ledger}
    assert len(paid) == 4
    for run, output, x in zip(batch.runs, outputs, ("a", "a b c"), strict=True):
        expected = [paid[f"{role} {x}"] for role in ("Read", "Write")]
        of_calls = [event.usage.cost for event in run.events() if isinstance(event, CallFinished) and event.usage]
        assert of_calls == [task.usage.cost for task in run.tasks] == expected
        assert output.token_usage.cost == run.record().usage.cost == sum(expected)
        assert output.token_usage.successful_requests == 2
    assert Batch(batch.id).progress().usage.cost == sum(paid.values())


def _cost(call: Call) -> float:
    asked = sum(len(str(message["content"]).split()) for message in call.request["messages"])
    return 0.25 * asked + 2.0 * len(f"said by {about(call.request)}".split())


def test_a_price_that_nobody_knows_is_said_to_be_unknown(fleet: WorkerProcess, model_server: ModelServer) -> None:
    run = Run(
        Crew(tasks=[Task(description="Ask.", agent=agent(LLM(model="openai/any", base_url=model_server.url)))])
        .kickoff()
        .run_id
    )
    used = run.record().usage
    assert (used.cost, used.unpriced_requests, used.cost_known) == (0, 1, False)
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    command = [sys.executable, "-m", "crewq", "show", run.id]
    shown = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "$?" in shown
    assert "$0.00" not in shown
