"""What tasks are given and give back, in a real worker: context, order, structured outputs, files, callbacks, tools."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from crewq import Agent, Crew, CrewOutput, Run, Task, TaskOutput, errors
from crewq.producer import connect
from crewq.testing import call
from tests.integration import crews
from tests.integration.crews import Echo, Person, Prefix, Repeat, agent, crew, scripted
from tests.integration.worker_process import WorkerProcess


@pytest.fixture
def notes(fleet: WorkerProcess) -> Iterator[Path]:
    """What the functions in the worker write down."""
    path = fleet.output_dir.parent / "notes"
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def task(text: str, who: Agent, **fields: Any) -> Task:
    return Task(**{"description": text, "expected_output": "", "agent": who, "name": text.lower()} | fields)


def known(output: TaskOutput) -> list[str]:
    """The tasks whose outputs a task was given, read off what its model was told."""
    context = output.raw.partition("What is known from earlier tasks:\n")[2]
    whole = re.sub(
        r"What is known from earlier tasks:\n<.*?answer itself, and not a description of it.>\n",
        "",
        context,
        flags=re.DOTALL,
    )
    return re.findall(r"^<Your task:\n(\w+)$", whole, re.MULTILINE)


# -- context and order -----------------------------------------------------------------------------------------------


def test_what_each_task_is_told(fleet: WorkerProcess) -> None:
    who = agent()
    a, b = task("A", who), task("B", who)
    tasks = [a, b, task("C", who, context=[a]), task("D", who, context=[]), task("E", who, context=None)]
    output = Crew(agents=[who], tasks=[*tasks, task("F", who, context=[b])]).kickoff()
    told = {done.name: known(done) for done in output.tasks_output}
    assert told == {"a": [], "b": ["A"], "c": ["A"], "d": [], "e": [], "f": ["B"]}


def test_async_tasks_run_side_by_side_and_are_given_what_came_before(fleet: WorkerProcess) -> None:
    who = agent(Echo(latency=1))  # one agent, two tasks at once
    first = task("A", agent())
    side = [task("B", who, async_execution=True), task("C", who, async_execution=True)]
    run = Crew(tasks=[first, *side, task("D", agent())]).kickoff_async()
    output = run.result(20)
    times: dict[int, dict[str, float]] = defaultdict(dict)
    for event in run.events():
        if event.task is not None:
            times[event.task][event.type] = event.at.timestamp()
    assert times[1]["task_started"] < times[2]["task_completed"]
    assert times[2]["task_started"] < times[1]["task_completed"]
    began = min(times[1]["task_started"], times[2]["task_started"])
    assert max(times[1]["task_completed"], times[2]["task_completed"]) - began < 1.8
    assert times[3]["task_started"] >= max(times[1]["task_completed"], times[2]["task_completed"])
    assert [known(done)[:1] for done in output.tasks_output] == [[], ["A"], ["A"], ["A"]]
    assert [done.name for done in output.tasks_output] == ["a", "b", "c", "d"]


def test_an_async_task_may_stand_on_another_async_task(fleet: WorkerProcess) -> None:
    who = agent()
    a = task("A", who, async_execution=True)
    output = Crew(tasks=[a, task("B", who, async_execution=True, context=[a]), task("C", who)]).kickoff()
    assert known(output.tasks_output[1]) == ["A"]


def test_a_crew_object_is_kicked_off_ten_times_at_once(fleet: WorkerProcess) -> None:
    who = agent(Echo(latency=0.1))
    work = Crew(
        agents=[who],
        tasks=[
            task("First {x}", who, async_execution=True, name="f"),
            task("Second {x}", who, async_execution=True, name="s"),
            task("Third {x}", who, name="t"),
        ],
    )

    async def all_at_once() -> list[CrewOutput]:
        return await asyncio.gather(*(work.kickoff_async({"x": f"item-{at}-"}) for at in range(10)))

    for at, output in enumerate(asyncio.run(all_at_once())):
        assert set(re.findall(r"item-(\d)-", output.raw)) == {str(at)}
        assert len(re.findall(r"item-", output.raw)) == 3
        assert (output.token_usage.total_tokens, output.token_usage.successful_requests) == (9, 3)


def test_two_agents_of_one_role_stay_two(fleet: WorkerProcess) -> None:
    one, two = agent(scripted("from one")), agent(scripted("from two"))
    output = Crew(agents=[one, two], tasks=[task("A", one), task("B", two), task("A", one, name="c")]).kickoff()
    assert [done.raw for done in output.tasks_output] == ["from one", "from two", "from one"]


def test_an_inserted_value_is_never_expanded_again(fleet: WorkerProcess) -> None:
    output = crew("Say {a} and {{b}} and {not this} {1}").kickoff({"a": "{b}", "b": "SECRET"})
    assert "Say {b} and {SECRET} and {not this} {1}" in output.raw


def test_agents_are_interpolated_too(fleet: WorkerProcess) -> None:
    who = agent(Echo(), role="{job}", use_system_prompt=False)
    assert "You are Chief {job}." in Crew(tasks=[task("A", who)]).kickoff({"job": "Chief {job}"}).raw
    assert Crew(tasks=[task("A", who)]).kickoff({"job": "Clerk"}).tasks_output[0].agent == "Clerk"


def test_any_text_survives_the_way(fleet: WorkerProcess) -> None:
    hard = "é漢字🎉\x00\x1f\u2028\"'\\{}[]|<&>\r\n" + "x" * 100_000
    output = crew("Say {x}").kickoff({"x": hard, "n": 2**70, "deep": [{"a": [None, True, 1.5]}]})
    assert hard in output.raw


# -- structured output -----------------------------------------------------------------------------------------------


class Even(BaseModel):
    """A rule that no JSON schema can carry."""

    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("is odd")
        return number


def test_the_callers_own_class_comes_back(fleet: WorkerProcess) -> None:
    class Local(BaseModel):
        name: str
        friends: list[Person] = []

    answer = json.dumps({"name": "Ada", "friends": [{"name": "Bob", "age": 3}]})
    who = agent(scripted(f"Here it is:\n```json\n{answer}\n```"))
    run = Crew(tasks=[task("A", who, output_pydantic=Local)]).kickoff_async()
    output = run.result(10)
    assert output.pydantic == Local(name="Ada", friends=[Person(name="Bob", age=3)])
    assert isinstance(output.pydantic, Local)
    assert output["name"] == "Ada"
    assert output.to_dict()["friends"] == [{"name": "Bob", "age": 3}]
    elsewhere = Run(run.id).result(10)
    assert elsewhere.json_dict == json.loads(answer), "without the class, its data"


def test_json_output(fleet: WorkerProcess) -> None:
    who = agent(scripted('{"name": "Ada", "age": 36}'))
    output = Crew(tasks=[task("A", who, output_json=Person)]).kickoff()
    assert output.json == '{"name": "Ada", "age": 36}'
    assert (output.json_dict, output.pydantic) == ({"name": "Ada", "age": 36}, None)


def test_an_answer_that_does_not_fit_is_asked_for_again(fleet: WorkerProcess) -> None:
    who = agent(scripted("Ada", '{"name": "Ada", "age": -1}', '{"name": "Ada", "age": 36}'))
    output = Crew(tasks=[task("A", who, output_pydantic=Person)]).kickoff()
    assert output.pydantic == Person(name="Ada", age=36)
    assert output.token_usage.successful_requests == 3


def test_an_answer_that_never_fits_ends_the_run_with_what_is_wrong(fleet: WorkerProcess) -> None:
    who = agent(scripted(*['{"name": "Ada", "age": -1}'] * 9))
    with pytest.raises(errors.RunFailed, match=r"does not fit the schema of Person: \$.age: -1 is less than"):
        Crew(tasks=[task("A", who, output_pydantic=Person)]).kickoff()


def test_a_rule_beyond_the_schema_is_an_error_of_the_caller_and_loses_nothing(fleet: WorkerProcess) -> None:
    who = agent(scripted('{"number": 3}'))
    run = Crew(tasks=[task("A", who, output_pydantic=Even)]).kickoff_async()
    with pytest.raises(errors.OutputInvalid, match="is odd"):
        run.result(10)
    assert run.status == "completed"
    assert run.tasks[0].output is not None
    assert run.tasks[0].output.json_dict == {"number": 3}


# -- files and callbacks ---------------------------------------------------------------------------------------------


def test_output_files(fleet: WorkerProcess) -> None:
    text, data = agent(scripted("Grüße")), agent(scripted('{"name": "Ada", "age": 36}'))
    Crew(
        tasks=[
            task("A", text, output_file="reports/{x}.md"),
            task("B", data, output_json=Person, output_file="/data.json"),
        ]
    ).kickoff({"x": "may"})
    assert (fleet.output_dir / "reports/may.md").read_text("utf-8") == "Grüße"
    assert json.loads((fleet.output_dir / "data.json").read_text()) == {"name": "Ada", "age": 36}


def test_an_output_file_outside_is_refused(fleet: WorkerProcess) -> None:
    with pytest.raises(errors.RunFailed, match="lies outside the output directory"):
        Crew(tasks=[task("A", agent(scripted("x")), output_file="{x}.txt")]).kickoff({"x": "../../escaped"})
    assert not list(fleet.output_dir.parents[1].rglob("escaped*"))


def test_callbacks_are_called_once_in_the_worker(fleet: WorkerProcess, notes: Path) -> None:
    who = agent(scripted(call("add", left=1, right=2), "three"), tools=[crews.add], step_callback=crews.on_step)
    Crew(tasks=[task("A", who, callback=crews.on_task)], task_callback=crews.on_task_async).kickoff()
    lines = notes.read_text().splitlines()
    assert sorted(lines) == ["add 1 2", "on_step answer", "on_step tool", "on_task three", "on_task_async three"]
    assert lines[-2:] == ["on_task three", "on_task_async three"]


def test_several_callbacks_of_a_task_are_called_one_after_another(fleet: WorkerProcess, notes: Path) -> None:
    work = task("A", agent(scripted("three")), callbacks=[crews.on_task, crews.on_task_async])
    Crew(tasks=[work]).kickoff()
    assert notes.read_text().splitlines() == ["on_task three", "on_task_async three"]


def test_a_callback_that_fails_costs_nothing(fleet: WorkerProcess) -> None:
    who = agent(scripted("fine"), step_callback=crews.failing)
    run = Crew(tasks=[task("A", who, callback=crews.failing)]).kickoff_async()
    assert run.result(10).raw == "fine"
    warned = [event for event in run.events() if event.type == "task_warned"]
    assert len(warned) == 2
    assert "callback tests.integration.crews:failing failed: RuntimeError: the callback broke" in warned[0].reason


def test_callbacks_before_and_after_a_kickoff(fleet: WorkerProcess) -> None:
    work = crew("Say {x}")
    work.before_kickoff_callbacks = [lambda inputs: {**inputs, "x": inputs["x"] * 2}]
    seen: list[str] = []
    work.after_kickoff_callbacks = [
        lambda output: seen.append(output.run_id),
        lambda o: o.model_copy(update={"raw": "!"}),
    ]

    async def several() -> list[CrewOutput]:
        run = work.kickoff_async({"x": "ab"})
        return await asyncio.gather(*(asyncio.create_task(run) for _ in range(4)))

    outputs = asyncio.run(several())
    assert {output.raw for output in outputs} == {"!"}
    assert "Say abab" in outputs[0].tasks_output[0].raw
    assert seen == [outputs[0].run_id], "once, however many wait"


def test_a_before_callback_that_changes_its_inputs_in_place(fleet: WorkerProcess) -> None:
    work, given = crew("Say {x}"), {"x": 1}
    work.before_kickoff_callbacks = [lambda inputs: inputs.update(x=2)]
    assert "Say 2" in work.kickoff(given).raw
    assert given == {"x": 1}


def test_what_crewai_fills_in_on_the_objects(fleet: WorkerProcess) -> None:
    work = crew("Say a")
    output = work.kickoff()
    assert work.tasks[0].output is not None
    assert work.tasks[0].output.raw == output.raw
    assert work.usage_metrics == output.token_usage
    (task,) = work.tasks
    assert task.start_time is not None
    assert task.end_time is not None
    assert 0 <= (task.execution_duration or -1) < 20
    assert (task.retry_count, task.used_tools, task.tools_errors, task.delegations) == (0, 0, 0, 0)
    assert task.processed_by_agents == {"Tester"}
    assert task.prompt() in output.raw
    copied = task.copy()
    assert (copied.execution_duration, copied.processed_by_agents, copied.prompt_context) == (None, set(), None)


def test_what_it_fills_in_of_a_run_that_failed(fleet: WorkerProcess) -> None:
    work = crew("Say a", "Say b", llm=Echo(poison="Say b"))
    work.agents[0].max_retry_limit = 0
    with pytest.raises(errors.RunFailed):
        work.kickoff()
    done, failed = work.tasks
    assert done.output is not None
    assert "Say a" in done.output.raw
    assert (failed.output, failed.prompt_context) == (None, done.output.raw)


# -- tools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (call("add", left=1, right=2), "3"),
        (call("add", left="1", right=2), "3"),
        (call("add", left="one", right=2), "was not called. The arguments do not fit: left"),
        (call("add"), "right: Field required"),
        (
            call("subtract", left=1),
            "There is no tool called 'subtract'. The tools there are: add, broken, prefix_it, ask_around",
        ),
        (call("broken", reason="no luck"), "The tool broken failed: ValueError: no luck"),
        (call("Prefix It", text="hello"), "## hello"),
        (call("ask_around", question="why"), "Nobody knows why"),
    ],
)
def test_tools(fleet: WorkerProcess, asked: Any, told: str) -> None:
    tools = [crews.add, crews.broken, Prefix(prefix="##"), crews.ask_around]
    assert told in Crew(tasks=[task("A", agent(Repeat(asked=asked), tools=tools))]).kickoff().raw


def test_a_tool_in_place_of_the_agents(fleet: WorkerProcess) -> None:
    who = agent(Repeat(asked=call("add", left=1, right=1)), tools=[crews.broken])
    assert Crew(tasks=[task("A", who, tools=[crews.add])]).kickoff().raw == "2"
    assert "The tools there are: broken" in Crew(tasks=[task("A", who)]).kickoff().raw


def test_the_sandbox_is_where_code_runs(fleet: WorkerProcess) -> None:
    who = agent(
        Repeat(asked=call("run_python", code="import json\nprint(json.dumps(sum(range(10))))")),
        allow_code_execution=True,
    )
    assert Crew(tasks=[task("A", who)]).kickoff().raw == "45"
    who = agent(Repeat(asked=call("run_python", code="import os\nprint(os.environ)")), allow_code_execution=True)
    told = Crew(tasks=[task("A", who)]).kickoff().raw
    assert "PATH" not in told
    assert "os" in told


def test_a_limit_of_time_is_enforced(fleet: WorkerProcess) -> None:
    who = agent(Echo(latency=60), max_execution_time=0.3)
    began = time.monotonic()
    with pytest.raises(errors.RunFailed, match=r"did not end within its 0.3 s \(max_execution_time\)"):
        Crew(tasks=[task("A", who)]).kickoff()
    assert time.monotonic() - began < 30, "the work was not waited for"


def test_a_model_that_raises_is_tried_again_and_then_fails(fleet: WorkerProcess) -> None:
    who = agent(Echo(poison="poison"), max_retry_limit=1)
    run = Crew(tasks=[task("poison", who)]).kickoff_async()
    with pytest.raises(errors.RunFailed, match="ValueError: poisoned"):
        run.result(10)
    requeued = [event for event in run.events() if event.type == "task_requeued"]
    assert [event.reason for event in requeued] == ["ValueError: poisoned"]
    assert run.tasks[0].attempt == 2


def test_a_tool_of_another_framework(fleet: WorkerProcess) -> None:
    who = agent(Repeat(asked=call("spell_out", text="bee")), tools=[crews.spell])
    assert Crew(tasks=[task("A", who)]).kickoff().raw == "b-e-e"


def test_the_conversation_comes_with_the_output(fleet: WorkerProcess) -> None:
    who = agent(scripted(call("add", left=1, right=2), "three"), tools=[crews.add])
    work = Crew(tasks=[task("A", who), task("B", agent())])
    output = work.kickoff()
    first, second = output.tasks_output
    assert [message["role"] for message in first.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert first.messages[-1]["content"] == "three"
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant"]
    assert "tool_calls" not in second.raw  # it is the answer that later tasks are given, not the conversation
    replayed = work.replay(Run(output.run_id).task_ids[1])
    assert replayed.tasks_output[0].messages == first.messages


# -- the cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crew_wide", "of_agent", "calls"), [(True, True, 1), (False, True, 2), (True, False, 2)])
def test_a_result_is_used_again_in_all_tasks_of_a_crew(
    fleet: WorkerProcess, notes: Path, crew_wide: bool, of_agent: bool, calls: int
) -> None:
    adding = call("add", left=1, right=2)
    first, second = (agent(Repeat(asked=adding), tools=[crews.add], cache=of_agent) for _ in range(2))
    output = Crew(tasks=[task("A", first), task("B", second)], cache=crew_wide).kickoff()
    assert [done.raw for done in output.tasks_output] == ["3", "3"]
    assert notes.read_text().splitlines() == ["add 1 2"] * calls
    exported = connect().store.export(output.run_id)
    assert [entry["answer"] for entry in exported["journal"] if entry["kind"] == "tool"] == ["3", "3"]
