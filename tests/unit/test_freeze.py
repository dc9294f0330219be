"""Freezing: what was left open is settled, and what cannot work in a worker is an error here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crewq import errors, sandboxes
from crewq.freeze import Plan, freeze, lent_keys, modules_of
from crewq.members import LLM, Task
from crewq.references import Imports
from crewq.settings import Settings
from crewq.spec import CrewSpec, templates
from crewq.testing import ScriptedModel
from crewq.tools import tool
from tests.unit import parts
from tests.unit.parts import EMBEDDED, HERE, REMOTE, agent, plan, task


def order(*tasks: Task) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What each task is given, and what it waits for."""
    return [(spec.context, spec.after) for spec in freeze(plan(*tasks), REMOTE).tasks]


def later(description: str, **fields: Any) -> Task:
    return task(description, async_execution=True, **fields)


# -- context and order -------------------------------------------------------------------------------------


def test_a_row_of_tasks_is_given_all_before_and_waits_for_the_last() -> None:
    assert order(task("a"), task("b"), task("c")) == [((), ()), ((0,), (0,)), ((0, 1), (1,))]


def test_named_context_changes_what_is_given_and_not_the_order() -> None:
    a, b = task("a"), task("b")
    assert order(a, b, task("c", context=[a])) == [((), ()), ((0,), (0,)), ((0,), (1,))]
    a, b = task("a"), task("b")
    assert order(a, b, task("c", context=[b, a]))[2] == ((1, 0), (1,))


@pytest.mark.parametrize("nothing", [None, []])
def test_no_context_is_no_context(nothing: Any) -> None:
    assert order(task("a"), task("b", context=nothing)) == [((), ()), ((), (0,))]


def test_async_tasks_start_together_and_are_joined_by_the_next_sync_one() -> None:
    assert order(later("a"), later("b"), task("c")) == [((), ()), ((), ()), ((0, 1), (0, 1))]
    assert order(task("a"), later("b"), later("c"), task("d")) == [
        ((), ()),
        ((0,), (0,)),
        ((0,), (0,)),
        ((0, 1, 2), (1, 2)),
    ]


def test_several_async_tasks_may_end_a_crew() -> None:
    assert order(task("a"), later("b"), later("c")) == [((), ()), ((0,), (0,)), ((0,), (0,))]


def test_a_sync_task_after_a_join_waits_for_the_join_only() -> None:
    assert [after for _, after in order(later("a"), task("b"), later("c"), later("d"), task("e"), task("f"))] == [
        (),
        (0,),
        (1,),
        (1,),
        (2, 3),
        (4,),
    ]


def test_an_async_task_waits_for_an_async_one_that_it_is_given() -> None:
    a, b = later("a"), later("b")
    assert order(a, b, later("c", context=[a]), task("d")) == [
        ((), ()),
        ((), ()),
        ((0,), (0,)),
        ((0, 1, 2), (0, 1, 2)),
    ]


def test_a_sync_task_waits_for_pending_async_ones_though_it_is_not_given_them() -> None:
    assert order(later("a"), task("b", context=None)) == [((), ()), ((), (0,))]


def test_an_async_task_without_context_still_waits_for_the_sync_one_before_it() -> None:
    assert order(task("a"), later("b", context=[])) == [((), ()), ((), (0,))]


def test_a_task_from_later_in_the_crew_cannot_be_given() -> None:
    late = task("late")
    with pytest.raises(errors.ContextComesLater, match=r"1 \('early'\).*2 \('late'\)"):
        order(task("early", context=[late]), late)


def test_a_task_cannot_be_given_itself() -> None:
    own = task("own")
    own.context = [own]
    with pytest.raises(errors.ContextComesLater):
        order(own)


def test_a_task_of_another_crew_cannot_be_given() -> None:
    with pytest.raises(errors.ContextNotInCrew, match="stranger"):
        order(task("a", context=[task("stranger")]))


# -- agents ------------------------------------------------------------------------------------------------


def test_a_crew_needs_tasks_and_each_of_them_an_agent() -> None:
    with pytest.raises(errors.EmptyCrew, match="demo"):
        freeze(plan(), REMOTE)
    with pytest.raises(errors.AgentMissing, match=r"Task 2 \('b'\)"):
        freeze(plan(task("a"), Task(description="b")), REMOTE)


def test_agents_are_told_apart_by_identity_and_come_once() -> None:
    one, two, unused = agent("A"), agent("A", goal="other"), agent("B")
    spec = freeze(plan(task("a", one), task("b", two), task("c", one), agents=[unused, one]), REMOTE)
    assert [frozen.role for frozen in spec.agents] == ["B", "A", "A"]
    assert [frozen.agent for frozen in spec.tasks] == [1, 2, 1]


def test_an_agent_without_a_model_has_the_default_one() -> None:
    spec = freeze(plan(task(by=agent(llm=None))), REMOTE.with_(default_model="m"))
    assert spec.agents[0].llm.model == "m"


def test_the_crew_speaks_for_agents_that_say_nothing_of_the_context_window() -> None:
    silent, clear = agent("A"), agent("B", respect_context_window=True)
    spec = freeze(plan(task("a", silent), task("b", clear), respect_context_window=False), REMOTE)
    assert [frozen.respect_context_window for frozen in spec.agents] == [False, True]


def test_every_field_of_an_agent_travels() -> None:
    fields = {
        "max_iter": 3, "max_rpm": 4, "max_execution_time": 5.0, "max_retry_limit": 6, "verbose": True, "cache": False,
        "respect_context_window": False, "use_system_prompt": False, "system_template": "s", "prompt_template": "p",
        "response_template": "r", "inject_date": True, "date_format": "%Y",
    }  # fmt: skip
    spec = freeze(plan(task(by=agent(**fields, step_callback=parts.told))), REMOTE).agents[0]
    assert {name: getattr(spec, name) for name in fields} == fields
    assert spec.step_callback == f"{HERE}:told"


def test_every_field_of_a_task_travels() -> None:
    fields: dict[str, Any] = {
        "name": "n", "expected_output": "e", "output_file": "{x}.md", "create_directory": False, "markdown": True,
    }  # fmt: skip
    spec = freeze(plan(task("d", **fields, callback=parts.told, output_pydantic=parts.Report)), REMOTE).tasks[0]
    assert {name: getattr(spec, name) for name in fields} == fields
    assert (spec.description, spec.callbacks, spec.output_format) == ("d", (f"{HERE}:told",), "pydantic")
    assert spec.output_schema == parts.Report.model_json_schema()
    assert freeze(plan(task(output_json=parts.Report)), REMOTE).tasks[0].output_format == "json"


def test_a_task_can_take_the_tools_of_its_agent_away() -> None:
    writer = agent(tools=[parts.search])
    spec = freeze(plan(task("a", writer), task("b", writer, tools=[]), task("c", writer, tools=[parts.other])), REMOTE)
    assert [tool.name for tool in spec.agents[0].tools] == ["search"]
    assert [frozen.tools and [tool.name for tool in frozen.tools] for frozen in spec.tasks] == [
        None,
        (),
        ["search_the_other"],
    ]


@tool
def run_python(code: str) -> str:
    """Is called as the tool of who may run code."""
    return code


def test_a_tool_of_the_name_of_the_one_that_comes_with_code_execution() -> None:
    coder = agent(allow_code_execution=True)
    for crew in (
        plan(task(by=agent(allow_code_execution=True, tools=[run_python]))),
        plan(task(by=coder, tools=[run_python])),
        plan(task(by=agent()), agents=[agent(allow_code_execution=True, tools=[run_python])]),
    ):
        with pytest.raises(errors.DuplicateToolName, match="run_python"):
            freeze(crew, EMBEDDED)
    assert freeze(plan(task(by=agent(tools=[run_python]))), EMBEDDED)


def test_tools_of_one_name_are_refused() -> None:
    with pytest.raises(errors.DuplicateToolName, match=r"the agent 'Writer'.*'search'"):
        freeze(plan(task(by=agent(tools=[parts.search, parts.impostor]))), REMOTE)
    with pytest.raises(errors.DuplicateToolName, match="'search'"):
        freeze(plan(task("x", tools=[parts.search, parts.search])), REMOTE)


def coding(**fields: Any) -> Plan:
    return plan(task(by=agent(allow_code_execution=True, **fields)))


def test_the_sandbox_is_the_agents_else_that_of_the_settings() -> None:
    def sandbox(crew: Plan, settings: Settings) -> str | None:
        return freeze(crew, settings).agents[0].sandbox

    elsewhere = REMOTE.with_(sandbox="container")
    assert sandbox(plan(task()), elsewhere) is None
    assert [sandbox(coding(), REMOTE), sandbox(coding(), elsewhere)] == ["monty", "container"]
    assert sandbox(coding(code_execution_mode="safe", sandbox="container"), REMOTE) == "container"
    assert sandbox(coding(sandbox="monty"), elsewhere) == "monty"


def test_code_is_not_run_without_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    assert freeze(coding(), EMBEDDED).agents[0].sandbox == "monty"
    monkeypatch.setattr(sandboxes, "find_spec", lambda name: None)
    with pytest.raises(errors.SandboxMissing, match=r"(?s)'Writer'.*pip install pydantic-monty"):
        freeze(coding(), EMBEDDED)
    assert freeze(coding(), REMOTE), "whether it is there is for the workers to say"


def test_code_is_not_run_without_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        errors.SandboxMissing, match=r"(?s)'Writer'.*'container'.*docker is not on PATH.*Install Docker"
    ):
        freeze(coding(sandbox="container"), EMBEDDED)
    assert freeze(coding(sandbox="container"), REMOTE), "whether it is there is for the workers to say"


# -- keys of tasks -----------------------------------------------------------------------------------------


def keys(*tasks: Task) -> list[str]:
    return [spec.key for spec in freeze(plan(*tasks), REMOTE).tasks]


def test_a_key_stays_as_long_as_the_task_does() -> None:
    (key,) = keys(task("a", name="n", expected_output="e"))
    assert keys(task("x"), task("a", name="n", expected_output="e", by=agent("Other"), markdown=True))[1] == key
    assert key not in keys(task("b", name="n", expected_output="e"), task("a", name="m", expected_output="e"))


def test_tasks_that_are_alike_are_counted() -> None:
    first, second, third = keys(task("a"), task("a"), task("a"))
    assert (second, third) == (f"{first}#2", f"{first}#3")


def test_where_one_text_ends_and_the_next_begins_makes_a_difference() -> None:
    assert len({*keys(task("ab", expected_output="c")), *keys(task("a", expected_output="bc"))}) == 2


def test_names_of_tasks_are_told_apart() -> None:
    with pytest.raises(errors.DuplicateTaskName, match="'n'"):
        keys(task("a", name="n"), task("b", name="n"))


# -- what travels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (lambda output: None, "a lambda"),
        (parts.Listener(), "not a plain function but a Listener"),
        (parts.Listener().method, "not a plain function but a method"),
        (print, "not a plain function"),
    ],
)
@pytest.mark.parametrize("settings", [EMBEDDED, REMOTE], ids=["embedded", "remote"])
def test_a_callback_that_cannot_travel_is_told_by_its_place(callback: Any, reason: str, settings: Any) -> None:
    for crew, place in (
        (plan(task("a", callback=callback)), r"The callback of the task 1 \('a'\)"),
        (plan(task("a", callbacks=[parts.told, callback])), r"The callback of the task 1 \('a'\)"),
        (plan(task(by=agent(step_callback=callback))), "The step_callback of the agent 'Writer'"),
        (plan(task(), task_callback=callback), "The task_callback of the crew 'demo'"),
        (plan(task(), step_callback=callback), "The step_callback of the crew 'demo'"),
    ):
        with pytest.raises(errors.NotPortable, match=f"{place}.*{reason}"):
            freeze(crew, settings)


def test_a_closure_cannot_travel() -> None:
    seen: list[Any] = []

    def remember(output: Any) -> None:
        seen.append(output)

    with pytest.raises(errors.NotPortable, match="inside a function"):
        freeze(plan(task(callback=remember)), EMBEDDED)


class _InMain:
    """Things that say they are of the script that was started, and are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        main = sys.modules["__main__"]
        namespace: dict[str, Any] = {"__name__": "__main__"}
        source = (
            "from tests.unit.parts import Model, Multiply\nfrom crewq.tools import tool\n"
            "def mine(output): ...\nclass MyModel(Model): ...\nclass MyTool(Multiply): ...\n"
            "@tool\ndef my_tool() -> str:\n    'T.'\n    return ''\n"
        )
        exec(source, namespace)
        for name in ("mine", "MyModel", "MyTool", "my_tool"):
            monkeypatch.setattr(main, name, namespace[name], raising=False)
            setattr(self, name, namespace[name])

    def crews(self) -> list[Any]:
        return [
            plan(task(callback=self.mine)),  # type: ignore[attr-defined]
            plan(task(), task_callback=self.mine),  # type: ignore[attr-defined]
            plan(task(by=agent(llm=self.MyModel()))),  # type: ignore[attr-defined]
            plan(task(by=agent(tools=[self.MyTool()]))),  # type: ignore[attr-defined]
            plan(task(tools=[self.my_tool])),  # type: ignore[attr-defined]
        ]


def test_the_script_that_was_started_travels_to_the_embedded_worker_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for crew in _InMain(monkeypatch).crews():
        assert modules_of(freeze(crew, EMBEDDED)) == {"__main__"}
        with pytest.raises(errors.NotPortable, match=r"script that was started.*\n.*CREWQ_IMPORTS"):
            freeze(crew, REMOTE)


def test_a_model_of_ones_own_travels_as_its_class_and_fields() -> None:
    spec = freeze(plan(task(by=agent(llm=parts.Model(level=3)))), REMOTE).agents[0].llm
    assert (spec.model, spec.reference, spec.fields) == ("my-model", f"{HERE}:Model", {"level": 3})
    scripted = freeze(plan(task(by=agent(llm=ScriptedModel(answers=["a"])))), REMOTE).agents[0].llm
    assert Imports().resolve(scripted.reference or "", lambda thing: True, "a model") is ScriptedModel


def test_a_model_with_a_secret_or_no_data_does_not_travel() -> None:
    for model, reason in (
        (parts.KeyedModel(token=SecretStr("x")), "secret"),
        (parts.HoldingModel(thing=object()), "JSON"),
    ):
        with pytest.raises(errors.NotPortable, match=f"'my-model' of the agent 'Writer'.*{reason}"):
            freeze(plan(task(by=agent(llm=model))), REMOTE)


# -- keys of providers -------------------------------------------------------------------------------------

KEY = "sk-hunter2"


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("anthropic/claude", "ANTHROPIC_API_KEY"),
        ("together-ai/x/y", "TOGETHER_AI_API_KEY"),
    ],
)
def test_a_literal_key_is_refused_for_a_worker_elsewhere(model: str, variable: str) -> None:
    with pytest.raises(errors.LiteralKey, match=variable) as caught:
        freeze(plan(task(by=agent(llm=LLM(model=model, api_key=KEY)))), REMOTE)  # type: ignore[arg-type]
    assert KEY not in str(caught.value)


def test_a_literal_key_is_lent_to_the_worker_in_this_process_and_is_in_no_spec() -> None:
    keyed = LLM(model="openai/gpt-4o", api_key=KEY, temperature=0.5)  # type: ignore[arg-type]
    crew = plan(task("a", agent(llm=keyed)), task("b", agent("Other")))
    spec = freeze(crew, EMBEDDED)
    assert KEY not in spec.to_json()
    assert KEY not in repr(spec)
    assert lent_keys(crew, spec) == {spec.agents[0].llm.model_dump_json(): KEY}
    assert lent_keys(plan(task()), freeze(plan(task()), EMBEDDED)) == {}


# -- what else is read off a crew --------------------------------------------------------------------------


def test_every_text_that_may_hold_inputs_is_told_with_its_place() -> None:
    crew = plan(task("{a}", agent("{r}", goal="{g}", backstory="{b}"), expected_output="{e}", output_file="{f}"))
    assert dict(templates(freeze(crew, REMOTE))) == {
        "role of the agent '{r}'": "{r}",
        "goal of the agent '{r}'": "{g}",
        "backstory of the agent '{r}'": "{b}",
        "description of the task '{a}'": "{a}",
        "expected_output of the task '{a}'": "{e}",
        "output_file of the task '{a}'": "{f}",
    }


def test_all_modules_that_a_worker_needs_are_told() -> None:
    writer = agent(llm=ScriptedModel(), tools=[parts.search], step_callback=parts.told)
    crew = plan(task("a", writer, callback=parts.told, tools=[parts.Multiply()]), task_callback=parts.told)
    assert modules_of(freeze(crew, REMOTE)) == {HERE, "crewq.testing"}
    assert modules_of(freeze(plan(task()), REMOTE)) == set()


def test_a_frozen_crew_comes_back_from_its_json() -> None:
    writer = agent(llm=parts.Model(level=3), tools=[parts.search, parts.Multiply(factor=3)], allow_code_execution=True)
    first = task("a {x}", writer, output_pydantic=parts.Report, callback=parts.told)
    spec = freeze(plan(first, task("b", context=[first]), max_rpm=3, cache=True), REMOTE)
    again = CrewSpec.from_json(spec.to_json(), "here")
    assert again == spec
    assert again.digest() == spec.digest()
