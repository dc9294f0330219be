"""An agent's tools: what the model is told of them, and what becomes of a call, whatever is wrong with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from crewq.agent.json_text import decoded
from crewq.errors import ModelError, SandboxError, StoreError, TaskError, explain
from crewq.model import ToolCall
from crewq.outputs import FailureReason, sound, sound_json
from crewq.tools import BaseTool, tool_name

# Carries out one call whose arguments are validated, and returns its result as a text.
Invoke: TypeAlias = Callable[[BaseTool, dict[str, Any]], Awaitable[str]]

# About 25,000 tokens: more than a model makes good use of, and less than fills the context of today's models.
RESULT_LIMIT = 100_000
# A model that makes the same call a third time in a row is stuck, and learns nothing from the same result again.
REPEATS_ALLOWED = 2
PROBLEMS_SHOWN = 10
NAME_SHOWN = 100  # characters, of a name that no tool has


@dataclass(frozen=True)
class ToolResult:
    """What became of a call.

    Fields:
        text: what the model is told.
        ok: whether the tool did its work.
        final: whether the text is the answer to the task.
        called: the tool that was at work; None: none was.
        failure: what kind of failure it was, if it was one of the tool or of the call.
    """

    text: str
    ok: bool = True
    final: bool = False
    called: str | None = None
    failure: FailureReason | None = None


class _Misuse(Exception):
    """A call that cannot be made, and what kind of failure that is; the text tells the model why."""

    def __init__(self, failure: FailureReason, text: str) -> None:
        self.failure: FailureReason = failure
        super().__init__(text)


class Toolbox:
    """The tools of one agent in one task.

    Whatever is wrong with a call ends as a text for the model, never as the end of the task. Calls reach `invoke` in the
    order in which the model made them, also when they then run side by side.
    """

    def __init__(self, tools: Sequence[BaseTool], invoke: Invoke) -> None:
        self._tools = {tool.public_name: tool for tool in tools}
        self._invoke = invoke
        self._used: dict[str, int] = dict.fromkeys(self._tools, 0)
        self._latest: tuple[str, str] | None = None
        self._repeats = 0
        self.schemas: tuple[dict[str, Any], ...] = tuple(tool.schema_for_model() for tool in self._tools.values())

    async def call_all(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Make the calls of one reply: side by side, unless one may end the task or is counted.

        Raises:
            ModelError: the model of a coworker failed.
            StoreError: the store failed under a call.
            SandboxError: there is no sandbox any more.
        """
        if self._one_by_one(calls):
            return await self._in_turn(calls)
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self.call(call)) for call in calls]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in running]

    def _one_by_one(self, calls: Sequence[ToolCall]) -> bool:
        wanted = [tool for call in calls if (tool := self._tools.get(tool_name(call.name)))]
        return any(tool.result_as_answer or tool.max_usage_count is not None for tool in wanted)

    async def _in_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        results: list[ToolResult] = []
        for call in calls:
            over = any(result.final for result in results)
            results.append(
                ToolResult("Not called: the task had its answer.", ok=False) if over else await self.call(call)
            )
        return results

    async def call(self, call: ToolCall) -> ToolResult:
        """Make one call that the model asks for.

        Raises:
            ModelError: the model of a coworker failed.
            StoreError: the store failed under the call.
            SandboxError: there is no sandbox any more.
        """
        called = tool_name(call.name)
        try:
            tool = self._named(call.name)
            arguments = self._understood(tool, call.arguments)
            self._count(tool, arguments)
            return ToolResult(await self._invoke(tool, arguments), final=tool.result_as_answer, called=called)
        except _Misuse as misuse:
            return ToolResult(cut(str(misuse)), ok=False, failure=misuse.failure)
        except (ModelError, StoreError, SandboxError):
            raise  # a coworker's model; the store under the journal; a model must not make up what code would have said
        except Exception as error:  # noqa: BLE001 - a tool's own code may raise anything
            told = cut(f"The tool {called} failed: {sound(explain(error))}")
            return ToolResult(told, ok=False, called=called, failure="exception")

    def _named(self, name: str) -> BaseTool:
        tool = self._tools.get(tool_name(name))
        if tool is None:
            there = ", ".join(self._tools) or "none"
            told = f"There is no tool called {name[:NAME_SHOWN]!r}. The tools there are: {there}."
            raise _Misuse("unknown_tool", told)
        return tool

    def _understood(self, tool: BaseTool, text: str) -> dict[str, Any]:
        try:
            value = sound_json(_decoded(text))
        except ValueError as error:
            raise _not_called(tool, f"The arguments are not JSON: {error}.") from error
        if not isinstance(value, dict):
            raise _not_called(tool, f"The arguments are no JSON object, but of type {type(value).__name__}.")
        try:
            return tool.parse(value)
        except ValidationError as error:
            problems = "; ".join(_problem(detail) for detail in error.errors()[:PROBLEMS_SHOWN])
            raise _not_called(tool, f"The arguments do not fit: {problems}.") from error

    def _count(self, tool: BaseTool, arguments: dict[str, Any]) -> None:
        call = _key(tool, arguments)
        self._repeats = self._repeats + 1 if call == self._latest else 1
        self._latest = call
        if self._repeats > REPEATS_ALLOWED:
            raise _Misuse(
                "repeated_call",
                f"The tool {tool.public_name} was not called again: you have just called it with these arguments, and have "
                "its result. Use that result, change the arguments, or give your answer.",
            )
        if tool.max_usage_count is not None and self._used[tool.public_name] >= tool.max_usage_count:
            others = ", ".join(name for name in self._tools if name != tool.public_name) or "none"
            raise _Misuse(
                "usage_limit",
                f"The tool {tool.public_name} may be used {_times(tool.max_usage_count)} in a task, and was. Go on without "
                f"it. The other tools: {others}.",
            )
        self._used[tool.public_name] += 1


def _decoded(text: str) -> Any:
    value = decoded(text) if text.strip() else {}
    if isinstance(value, str):
        value = decoded(value)  # some models write the JSON of the JSON
    return {} if value is None else value


def _not_called(tool: BaseTool, reason: str) -> _Misuse:
    schema = json.dumps(tool.schema_for_model()["function"]["parameters"], ensure_ascii=False)
    told = f"The tool {tool.public_name} was not called. {reason} Its arguments are described by: {schema}"
    return _Misuse("invalid_input", told)


def _problem(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "arguments"
    return f"{where}: {detail['msg']}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _key(tool: BaseTool, arguments: dict[str, Any]) -> tuple[str, str]:
    return tool.public_name, _json(arguments, sort_keys=True)


def _json(value: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(value, sort_keys=sort_keys, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def as_text(value: Any) -> str:
    """What a tool returned, as the model is shown it: data as JSON, the rest as `str()`, and not more than is useful."""
    return cut(sound(_json(value) if isinstance(value, (BaseModel, dict, list, tuple)) else str(value)))


def cut(text: str) -> str:
    """`text`, or of one that is too long its beginning, with a note."""
    if len(text) <= RESULT_LIMIT:
        return text
    note = f"\n[cut: the result had {len(text):,} characters, and these are its first]"
    return text[: RESULT_LIMIT - len(note)] + note


def invoke_directly(threads: Executor) -> Invoke:
    """Calls tools in this process: async ones on the event loop, the others in `threads`, with the caller's context."""

    async def invoke(tool: BaseTool, arguments: dict[str, Any]) -> str:
        if tool.is_async:
            return _told(await _awaited(tool._arun(**arguments)))
        return _told(await call_in(threads, partial(tool._run, **arguments)))

    return invoke


def _told(value: Any) -> str:
    """What a tool returned, as text.

    Raises:
        TaskError: it is a `ToolFailure`, crewq's or CrewAI's: the tool did not do what it was asked.
    """
    if callable(in_words := getattr(value, "as_agent_message", None)):
        raise TaskError(reason=cut(str(in_words())))
    return as_text(value)


async def call_in(threads: Executor, work: Callable[[], Any]) -> Any:
    """What a user's function returns, called in `threads` with the caller's context, and awaited if it is to be.

    Raises:
        TaskError: in the place of what asyncio would take for its own end.
    """
    contained = partial(contextvars.copy_context().run, _contained, work)
    value = await asyncio.get_running_loop().run_in_executor(threads, contained)
    return await _awaited(value) if inspect.isawaitable(value) else value


def _contained(work: Callable[[], Any]) -> Any:
    """What `work` returns. What an asyncio future cannot carry, or would take for its own end, becomes an ordinary error."""
    try:
        return work()
    except (SystemExit, StopIteration, concurrent.futures.CancelledError) as error:
        raise TaskError(reason=f"it raised {explain(error)}") from error


async def _awaited(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except SystemExit as error:
        raise TaskError(reason=f"it raised {explain(error)}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TaskError(reason="it was cancelled by something it waited for") from error


__all__ = [
    "REPEATS_ALLOWED",
    "RESULT_LIMIT",
    "Invoke",
    "ToolResult",
    "Toolbox",
    "as_text",
    "call_in",
    "cut",
    "invoke_directly",
]
