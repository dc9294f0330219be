"""What needs the caller's own objects says so at kickoff, where the workers are other processes; nothing is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from crewq import LLM, BaseLLM, BaseTool, ConditionalTask, Crew, Task, errors, tool
from crewq.mcp import MCPServerStdio
from crewq.recording import RecordedModel
from crewq.tools import FunctionTool
from tests.integration.crews import agent, on_task

Make = Callable[[Any], Crew]

IN_MAIN = """
from crewq import BaseLLM, BaseTool, tool

def my_function(about): ...
class MyModel(BaseLLM): ...
class MyTool(BaseTool):
    name: str = "mine"
    description: str = "Mine."
    def _run(self): ...
@tool
def my_tool() -> str:
    "Mine."
"""


def lambdas() -> SimpleNamespace:
    return SimpleNamespace(function=lambda about: None, tool=FunctionTool(name="t", description="d", func=lambda: ""))


def closures() -> SimpleNamespace:
    def function(about: Any) -> None: ...

    class Model(BaseLLM): ...

    class Tool(BaseTool):
        name: str = "t"
        description: str = "d"

        def _run(self) -> None: ...

    @tool
    def of_function() -> str:
        """T."""
        return ""

    return SimpleNamespace(function=function, model=Model(), object=Tool(), tool=of_function)


def of_main(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Things that say that they are of the script that was started, and are."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(IN_MAIN, names)
    for name in ("my_function", "MyModel", "MyTool", "my_tool"):
        monkeypatch.setattr(sys.modules["__main__"], name, names[name], raising=False)
    return SimpleNamespace(
        function=names["my_function"], model=names["MyModel"](), object=names["MyTool"](), tool=names["my_tool"]
    )


def task(**fields: Any) -> Task:
    return Task(**{"description": "Do it", "agent": agent()} | fields)


def by(**fields: Any) -> Crew:
    return Crew(tasks=[task(agent=agent(**fields))])


def filtered(function: Any) -> Crew:
    return by(mcps=[MCPServerStdio(command="uvx", tool_filter=function)])


FUNCTIONS: list[tuple[str, Make]] = [
    ("The callback of the task", lambda it: Crew(tasks=[task(callback=it)])),
    ("The callback of the task", lambda it: Crew(tasks=[task(callbacks=[on_task, it])])),
    ("The guardrail of the task", lambda it: Crew(tasks=[task(guardrail=it)])),
    ("The guardrail of the task", lambda it: Crew(tasks=[task(guardrails=["It is short.", it])])),
    (
        "The condition of the task",
        lambda it: Crew(tasks=[task(), ConditionalTask(description="b", agent=agent(), condition=it)]),
    ),
    ("The step_callback of the agent", lambda it: by(step_callback=it)),
    ("The step_callback of the crew", lambda it: Crew(tasks=[task()], step_callback=it)),
    ("The task_callback of the crew", lambda it: Crew(tasks=[task()], task_callback=it)),
    ("The tool_filter of the MCP server", filtered),
]
TOOLS: list[tuple[str, Make]] = [
    ("The tool", lambda it: by(tools=[it])),
    ("The tool", lambda it: Crew(tasks=[task(tools=[it])])),
]
MODELS: list[tuple[str, Make]] = [
    ("The model 'custom' of the agent", lambda it: by(llm=it)),
    ("The model 'custom' of the agent", lambda it: by(llm=LLM(model="openai/any", fallbacks=[it]))),
    ("The model 'custom' behind the recording", lambda it: by(llm=RecordedModel(it, file="any.json"))),
    ("The model 'custom' ", lambda it: Crew(tasks=[task()], planning=True, planning_llm=it)),
]
KINDS = {"function": FUNCTIONS, "tool": TOOLS, "object": TOOLS, "model": MODELS}
REASONS = {
    "lambda": "it is a lambda",
    "closure": "it is defined inside a function",
    "main": "it is defined in the script that was started",
}


@pytest.mark.parametrize("way", REASONS)
def test_what_no_worker_can_find_is_an_error_that_names_it(
    nothing_started: None, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    things = {"lambda": lambdas, "closure": closures, "main": lambda: of_main(monkeypatch)}[way]()
    for kind, thing in vars(things).items():
        for place, make in KINDS[kind]:
            with pytest.raises(errors.NotPortable) as caught:
                make(thing).kickoff()
            told = str(caught.value)
            assert told.startswith(place), told
            assert REASONS[way] in told
            assert "at the top level of a module" in told or "into a module of its own" in told, "what to do"


def test_a_schema_that_only_one_object_has_is_an_error_that_names_it(nothing_started: None) -> None:
    class Arguments(BaseModel):
        x: int

    made = FunctionTool(name="t", description="d", func=on_task, args_schema=Arguments)
    with pytest.raises(errors.NotPortable, match="The tool 't'"):
        by(tools=[made]).kickoff()


def test_a_batch_says_so_too(nothing_started: None) -> None:
    with pytest.raises(errors.NotPortable, match="The callback of the task"):
        Crew(tasks=[task(callback=lambda about: None)]).kickoff_for_each([{}, {}])
