"""What an agent of a crew works with in a worker: its model within its limits, and its tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from crewq.agent import Coworker, Equipment, FallbackModel, OnStep, RetryingModel, Toolbox, invoke_directly
from crewq.agent.retry import TRIES
from crewq.agent.sandbox import Sandbox
from crewq.agent.sandbox.code_tool import CodeTool
from crewq.calls import Attempt, JournalledModel, journalled
from crewq.host import Host
from crewq.limited import LimitedModel
from crewq.limits import Limit
from crewq.model import Model
from crewq.narration import Narration
from crewq.plan import task_id
from crewq.recall import recalled
from crewq.spec import AgentSpec, CrewSpec, LLMSpec, ServerSpec, TaskSpec
from crewq.store import Call, Demand
from crewq.template import interpolate
from crewq.tool_servers import ToolServer, admit, told_apart
from crewq.tools import BaseTool
from crewq.traced import traced

TRIES_BEFORE_ANOTHER = 2  # where there is a fallback, nobody waits half a minute for a model that is down
Spec = TypeVar("Spec", AgentSpec, TaskSpec)


@dataclass(frozen=True)
class Post:
    """An agent of a crew as this worker has it.

    Fields:
        crew: the crew.
        at: the agent's position in it.
        agent: the agent, its templates filled in.
        models: who answers for it: its model, and those to ask where that fails.
        tools: its tools, or those of the task in their place.
        sandbox: where the code that its model writes is run, if it may write any.
    """

    crew: CrewSpec
    at: int
    agent: AgentSpec
    models: tuple[Model, ...]
    tools: tuple[BaseTool, ...]
    sandbox: Sandbox | None


def man(host: Host, crew: CrewSpec, at: int, inputs: Mapping[str, Any], task: TaskSpec | None = None) -> Post:
    """Have an agent ready, for a task with tools of its own or for whatever comes.

    Raises:
        ReferenceRefused, ToolBroken, ModelUnknown, SandboxUnavailable, McpRefused: this worker cannot.
    """
    agent = filled(crew.agents[at], inputs, "role", "goal", "backstory")
    if crew.knowledge:
        agent = agent.model_copy(update={"knowledge": tuple(dict.fromkeys((*agent.knowledge, *crew.knowledge)))})
    specs = agent.tools if task is None or task.tools is None else task.tools
    tools = tuple(spec.build(host.settings.imports) for spec in specs)
    for server in agent.mcps:
        admit(host.settings, server)
    models = tuple(host.model(llm) for llm in agent.llm.chain)
    sandbox = host.sandbox(agent.sandbox) if agent.sandbox else None
    return Post(crew, at, agent, models, tools, sandbox)


def filled(spec: Spec, inputs: Mapping[str, Any], *fields: str) -> Spec:
    """An agent or a task with the templates in these fields filled in."""
    texts = {name: interpolate(text, inputs) for name in fields if (text := getattr(spec, name))}
    return spec.model_copy(update=texts)


@asynccontextmanager
async def equipped(
    host: Host, post: Post, attempt: Attempt, on_step: OnStep, about: str, more: tuple[BaseTool, ...] = ()
) -> AsyncIterator[Equipment]:
    """What an agent works with for one piece of work, whose calls are those of `attempt`; put away at the end.

    Args:
        host: this worker.
        post: the agent.
        attempt: whose calls they are.
        on_step: who is told of its steps.
        about: what the work is.
        more: tools beside its own.

    Raises:
        McpRefused, McpUnreachable: a server of tools cannot be used.
    """
    code = (CodeTool(sandbox=post.sandbox),) if post.sandbox else ()
    servers = {ToolServer(host, post.agent, server): server for server in post.agent.mcps}
    on_token = _aloud if post.crew.stream else None
    shared = post.crew.cache and post.agent.cache
    called = traced(invoke_directly(host.tool_threads), host.settings.trace_content)
    invoke = journalled(called, attempt, host.hide, cache=shared)
    try:
        remembered = await recalled(host, attempt, about) if post.agent.memory else ()
        tools = await _with_servers((*post.tools, *code, *more), servers, attempt)
        yield Equipment(_model(host, post, attempt), Toolbox(tools, invoke), on_step, on_token, remembered)
    finally:
        for server in servers:
            server.close()
        for tool in code:
            host.tool_threads.submit(tool.close)  # which may take a moment, and the event loop has none to give


async def _with_servers(
    tools: tuple[BaseTool, ...], servers: Mapping[ToolServer, ServerSpec], attempt: Attempt
) -> list[BaseTool]:
    """The tools, and those that servers offer."""
    found = list(tools)
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(server.tools(attempt)) for server in servers]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    for task, server in zip(asked, servers.values(), strict=True):
        found += told_apart(task.result(), [tool.public_name for tool in found], server)
    return found


def _model(host: Host, post: Post, attempt: Attempt) -> Model:
    """Every try is a call of its own in the journal, so none is begun for a task that was cancelled or lost meanwhile. All
    of them are calls for one answer, which is found again whichever model gave it."""
    chain = post.agent.llm.chain

    def tried(llm: LLMSpec, model: Model) -> Model:
        kept = JournalledModel(model, llm.model, attempt, _answers(host, post, attempt, llm), _narrator(host, post))
        if (llm.behind or llm).reference:
            return kept  # a model of the user's own is asked as it is
        return RetryingModel(kept, tries=TRIES if llm is chain[-1] else TRIES_BEFORE_ANOTHER)

    models = [tried(llm, model) for llm, model in zip(chain, post.models, strict=True)]
    return models[0] if len(models) == 1 else FallbackModel(models)


def as_coworker(host: Host, post: Post, attempt: Attempt, on_step: OnStep) -> Coworker:
    """An agent that works for another one within the task of `attempt`, each time on a part of its own."""
    return Coworker(post.agent, lambda work: equipped(host, post, attempt.part(work), on_step, work))


def _aloud(text: str) -> None:
    """Has the journalled model tell of what the agent says, and not of what else the model is asked for: a summary, a
    verdict."""


def _narrator(host: Host, post: Post) -> Callable[[Call], Narration]:
    """Tells who follows the run of each answer to this agent."""

    def narrate(call: Call) -> Narration:
        return Narration(partial(host.tell, call, post.agent.role), host.store_threads)

    return narrate


def _answers(host: Host, post: Post, attempt: Attempt, llm: LLMSpec) -> Callable[[Call], Model]:
    """Who answers each call of an agent: a model, within its limits and the agent's (else the crew's) `max_rpm`."""
    crew, agent = post.crew, post.agent
    at, rate = (str(post.at), agent.max_rpm) if agent.max_rpm else ("crew", crew.max_rpm)
    more = (Demand(f"{crew.name}@{crew.digest()}:{at}", Limit(rpm=rate)),) if rate else ()

    def answers(call: Call) -> Model:
        return LimitedModel(host, attempt, call, llm, agent.llm, more, _metadata(post, attempt, call))

    return answers


def _metadata(post: Post, attempt: Attempt, call: Call) -> dict[str, Any]:
    """Whose call it is, for litellm's callbacks. The names without `crewq` are those that litellm's documentation has for
    Langfuse and its like: a run is one trace there, and each call a generation in it."""
    run, task = call.job.run, post.crew.public_name(call.job.index)
    return {
        "crewq_run": run,
        "crewq_crew": post.crew.name,
        "crewq_task": task_id(run, call.job.index),
        "crewq_task_name": task,
        "crewq_agent": post.agent.role,
        "crewq_attempt": call.attempt,
        "crewq_step": attempt.step(call),
        "trace_id": run.replace("-", ""),
        "trace_name": post.crew.name,
        "session_id": run,
        "generation_name": f"{task}: {post.agent.role}",
    }


__all__ = ["Post", "as_coworker", "equipped", "filled", "man"]
