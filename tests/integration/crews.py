"""What the workers of the integration tests may load: tools, callbacks, models, and ways to put a crew together."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, Field

from crewq import LLM, Agent, BaseLLM, BaseTool, Crew, Task, TaskOutput, UsageMetrics, tool
from crewq.mcp import ToolFilterContext
from crewq.model import ModelAnswer, ModelRequest, OnToken, ToolCall
from crewq.testing import ScriptedCall, ScriptedModel


def note(line: str) -> None:
    """Write a line where the test reads it: one write, whoever else writes."""
    with Path(os.environ["CREWQ_NOTES"]).open("a") as notes:
        notes.write(f"{line}\n")


# -- tools -------------------------------------------------------------------------------------------------


@tool
def mutter(word: str) -> str:
    """Say something into the log."""
    logging.getLogger("my.tools").info("muttering\nin two lines")
    return f"muttered {word}"


@tool
def add(left: int, right: int) -> int:
    """Add two numbers."""
    note(f"add {left} {right}")
    return left + right


@tool
def broken(reason: str) -> str:
    """Fail."""
    raise ValueError(reason)


@tool
def keyed(name: str) -> str:
    """Ask a shop, with a key from the environment, in a way that tells it when it fails."""
    raise ConnectionError(f"GET https://shop.example/?api_key={os.environ[name]} failed")


@tool(idempotent=False)
def pay(amount: int) -> str:
    """Pay, which takes a while, and must not happen twice."""
    note(f"pay {amount}")
    time.sleep(30)
    return "paid"


@tool
async def ask_around(question: str) -> str:
    """Ask on the event loop."""
    await asyncio.sleep(0)
    return f"Nobody knows {question}"


@tool(result_as_answer=True)
def verdict(text: str) -> str:
    """Give the verdict, which is the answer."""
    return f"It is so: {text}"


@tool(max_usage_count=1)
def draw_once(name: str) -> str:
    """Draw a card, once."""
    note(f"draw {name}")
    return f"{name} of hearts"


@tool
def read_aloud(pages: int) -> str:
    """Read pages of a long book."""
    return "It was a dark and stormy night. " * (64 * pages)  # 2 kB each


_in_threads, _on_the_loop = threading.Barrier(2), asyncio.Barrier(2)


@tool
def meet(who: str) -> str:
    """Meet another one who calls this at the same time, and say in which thread that was."""
    _in_threads.wait(20)
    return threading.current_thread().name


@tool
async def meet_on_the_loop(who: str) -> str:
    """Likewise, on the event loop."""
    async with asyncio.timeout(20):
        await _on_the_loop.wait()
    return threading.current_thread().name


@tool
def ask_a_model(question: str, url: str) -> str:
    """Ask a model, from within a tool."""
    return str(LLM(model="openai/gpt-4.1-mini", base_url=url, api_key="none").call(question))


class Reported:
    """What CrewAI's tools return when they have failed without raising."""

    def as_agent_message(self) -> str:
        return "no such channel (code: channel_not_found)"


@tool
def post(channel: str) -> Any:
    """Post something, and report that it failed."""
    return Reported()


class Whisper(BaseTool):
    """A tool of a class, on the event loop."""

    name: str = "whisper"
    description: str = "Say something in small letters."

    def _run(self, text: str) -> str:
        raise NotImplementedError

    async def _arun(self, text: str) -> str:
        await asyncio.sleep(0)
        return text.lower()


class Prefix(BaseTool):
    """A tool with a field, which travels with it."""

    name: str = "Prefix It"
    description: str = "Put the prefix before a text."
    prefix: str = ">"

    def _run(self, text: str) -> str:
        return f"{self.prefix} {text}"


class Framework:
    """A tool as other frameworks have them: known by what it has."""

    name = "Spell Out"
    description = "Spells a text out."
    args_schema = None

    def __init__(self, between: str) -> None:
        self.between = between

    def _run(self, text: str) -> str:
        note(f"spell {text}")
        return self.between.join(text)


spell = Framework("-")


# -- callbacks ---------------------------------------------------------------------------------------------


def on_task(output: TaskOutput) -> None:
    note(f"on_task {output.raw}")


async def on_task_async(output: TaskOutput) -> None:
    await asyncio.sleep(0)
    note(f"on_task_async {output.raw}")


def on_step(step: Any) -> None:
    note(f"on_step {step.kind}")


def failing(about: Any) -> None:
    raise RuntimeError("the callback broke")


# -- filters of the tools of servers -----------------------------------------------------------------------


def only_reading(tool: dict[str, Any]) -> bool:
    return "left" in tool["inputSchema"]["properties"]


async def only_for_testers(context: ToolFilterContext, tool: dict[str, Any]) -> bool:
    return context.agent.role == "Tester" and context.server_name == "127.0.0.1" and tool["name"] == "add"


# -- guardrails and conditions -----------------------------------------------------------------------------


def is_short(output: TaskOutput) -> tuple[bool, str]:
    note(f"is_short {output.raw}")
    return (True, output.raw) if len(output.raw) < 10 else (False, f"{output.raw!r} is too long: less than 10 letters.")


def shouted(output: TaskOutput) -> tuple[bool, str]:
    return True, output.raw.upper()


def signed(output: TaskOutput) -> tuple[bool, TaskOutput]:
    output.raw += ", signed"
    return True, output


def shouting_keys(output: TaskOutput) -> tuple[bool, str]:
    return True, json.dumps({name.upper(): value for name, value in (output.json_dict or {}).items()})


def never_content(output: TaskOutput) -> tuple[bool, str]:
    return False, f"{output.raw} will not do"


def no_verdict(output: TaskOutput) -> Any:
    return "looks fine"


def broken_check(output: TaskOutput) -> tuple[bool, str]:
    note("broken_check")
    raise KeyError("sources")


def keyed_check(output: TaskOutput) -> tuple[bool, str]:
    raise KeyError(f"no such key: {os.environ['SHOP_API_KEY']}")


def is_grown_up(output: TaskOutput) -> tuple[bool, TaskOutput | str]:
    person = output.pydantic
    assert isinstance(person, Person)
    return (True, output) if person.age >= 18 else (False, f"{person.name} is too young.")


def is_ada(output: TaskOutput) -> bool:
    return isinstance(output.pydantic, Person) and output.pydantic.name == "Ada"


def on_person(output: TaskOutput) -> None:
    note(f"on_person {output.pydantic!r}")


def says_go(output: TaskOutput) -> bool:
    note(f"says_go {output.raw}")
    return "go" in output.raw


# -- models ------------------------------------------------------------------------------------------------


class Echo(BaseLLM):
    """Says back what it was asked, so that a test sees what a model sees."""

    model: str = "echo"
    latency: float = 0.0
    poison: str = ""  # refuses a prompt that holds it

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        prompt = str(request.messages[-1]["content"])
        await asyncio.sleep(self.latency)
        if self.poison and self.poison in prompt:
            raise ValueError("poisoned")
        usage = UsageMetrics(total_tokens=3, prompt_tokens=2, completion_tokens=1, successful_requests=1)
        return ModelAnswer(text=f"<{prompt}>", usage=usage)


class Repeat(BaseLLM):
    """Makes one tool call, and answers with what it was told by the tool."""

    model: str = "repeat"
    asked: ScriptedCall

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        last = request.messages[-1]
        if last["role"] == "tool":
            return ModelAnswer(text=str(last["content"]))
        arguments = json.dumps(self.asked.arguments)
        return ModelAnswer(tool_calls=(ToolCall(id="call_1", name=self.asked.tool, arguments=arguments),))


class Killer(BaseLLM):
    """Takes its whole process down with it."""

    model: str = "killer"

    def call(self, messages: list[Any], tools: Any = None) -> str:
        note("killed")
        os.kill(os.getpid(), 9)
        return ""


class Documented(BaseLLM):
    """A model as CrewAI's documentation writes one, with a key that it reads where it is."""

    def __init__(self, model: str, endpoint: str, temperature: float | None = None, api_key: str | None = None) -> None:
        super().__init__(model=model, temperature=temperature, stop=["END"])
        self.endpoint = endpoint
        self.api_key = api_key or os.environ.get("DOCUMENTED_KEY", "of the worker")

    def call(
        self, messages: Any, tools: Any = None, callbacks: Any = None, available_functions: Any = None
    ) -> str | list[dict[str, Any]]:
        asked = {"model": self.model, "messages": messages, "temperature": self.temperature, "stop": self.stop}
        if tools:
            asked["tools"] = tools
        headers = {"Authorization": f"Bearer {self.api_key}"}
        response = httpx.post(self.endpoint, headers=headers, json=asked, timeout=30)
        message = response.raise_for_status().json()["choices"][0]["message"]
        said: str | list[dict[str, Any]] = message.get("tool_calls") or message["content"]
        return said

    def get_context_window_size(self) -> int:
        return 8192


class DocumentedWithTools(Documented):
    """The same, which says that it does something with tools."""

    def supports_function_calling(self) -> bool:
        return True


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int = Field(ge=0)


# -- crews -------------------------------------------------------------------------------------------------


def agent(llm: str | LLM | BaseLLM | None = None, **fields: Any) -> Agent:
    """An agent that says back what it was asked, unless it has another model."""
    return Agent(**{"role": "Tester", "goal": "Test it", "backstory": "A tester.", "llm": llm or Echo()} | fields)


def crew(*descriptions: str, llm: str | LLM | BaseLLM | None = None, name: str = "crew") -> Crew:
    """A crew of tasks one after the other, called a, b, c and so on."""
    who = agent(llm)
    tasks = [
        Task(name=chr(ord("a") + at), description=text, expected_output="An answer.", agent=who)
        for at, text in enumerate(descriptions)
    ]
    return Crew(name=name, agents=[who], tasks=tasks)


def scripted(*answers: Any, **fields: Any) -> ScriptedModel:
    return ScriptedModel(answers=list(answers), **fields)


greetings = crew("Greet {who}.", "Greet {who} again.", name="greetings")
