"""From what a person wrote to what travels: `freeze` settles everything that was left open, or says what is wrong.

It runs in the caller, at kickoff: whatever cannot work in a worker is an error here, before anything was started.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from crewq import errors
from crewq.dependencies import Dependencies, called
from crewq.knowledge import BaseKnowledgeSource, pieces_of
from crewq.language_model import LLM
from crewq.lead import Staff, manager_of, planned_first, planner
from crewq.members import Agent, ConditionalTask, Task
from crewq.model import BaseLLM, Front
from crewq.outputs import OutputFormat
from crewq.portable import portable, portable_function, refuse_main
from crewq.references import arguments_of, fields_of, main_queue
from crewq.sandboxes import check
from crewq.settings import Settings
from crewq.spec import (
    ASK_COWORKER,
    DELEGATE_WORK,
    RUN_PYTHON,
    AgentSpec,
    CrewSpec,
    GuardrailSpec,
    LLMSpec,
    Process,
    ServerSpec,
    TaskSpec,
)
from crewq.tool_spec import ToolSpec
from crewq.tools import BaseTool

MCP_PACKAGE = "mcp"


class Plan(NamedTuple):
    """A crew as a person put it together, before it is frozen."""

    name: str
    agents: Sequence[Agent]
    tasks: Sequence[Task]
    process: Process
    verbose: bool
    cache: bool
    max_rpm: int | None
    respect_context_window: bool | None
    task_callback: Callable[..., Any] | None
    step_callback: Callable[..., Any] | None
    queue: str | None
    manager_agent: Agent | None
    manager_llm: str | LLM | BaseLLM | None
    planning: bool
    planning_llm: str | LLM | BaseLLM | None
    stream: bool
    knowledge_sources: Sequence[BaseKnowledgeSource] | None
    memory: bool | None


def freeze(crew: Plan, settings: Settings) -> CrewSpec:
    """The crew as it travels.

    Raises:
        CrewError: it cannot run as it is written; says which task or agent, and what to change.
        NotPortable: it holds something that cannot travel to a worker.
    """
    if not crew.tasks:
        raise errors.EmptyCrew(crew=crew.name)
    staff = _staff(crew)
    agents = tuple(_agent(agent, crew, settings) for agent in staff.all)
    tasks = tuple(_tasks(crew, staff, settings))
    spec = CrewSpec(
        name=crew.name,
        queue=_queue(settings, crew.queue) or settings.queue,
        agents=agents,
        tasks=tuple(planned_first(tasks, agents, staff.place(staff.planner))) if staff.planner else tasks,
        process=crew.process,
        verbose=crew.verbose,
        cache=crew.cache,
        stream=bool(crew.stream),
        max_rpm=crew.max_rpm,
        task_callback=_callback(crew.task_callback, f"The task_callback of the crew {crew.name!r}", settings),
        step_callback=_callback(crew.step_callback, f"The step_callback of the crew {crew.name!r}", settings),
        knowledge=pieces_of(crew.knowledge_sources, "Crew"),
    )
    # Only a process of the same script can load what is defined in it, or has its keys: such a crew has a queue of its own.
    own = "__main__" in modules_of(spec) or lent_keys(crew, spec)
    return _in_this_script(spec) if own else spec


def _in_this_script(spec: CrewSpec) -> CrewSpec:
    tasks = (task.model_copy(update={"queue": main_queue(task.queue)}) if task.queue else task for task in spec.tasks)
    return spec.model_copy(update={"queue": main_queue(spec.queue), "tasks": tuple(tasks)})


def _queue(settings: Settings, *wanted: str | None) -> str | None:
    """The first that is named. In embedded mode there is no worker but the one in this process, which has what there is."""
    return None if settings.embedded else next(filter(None, wanted), None)


def lent_keys(crew: Plan, spec: CrewSpec) -> dict[str, str]:
    """The literal keys of a crew, by the LLM they are for: for the worker in this process, and nowhere else."""
    return {
        frozen.model_dump_json(): llm.api_key.get_secret_value()
        for agent, one in zip(_staff(crew).all, spec.agents, strict=True)
        for llm, frozen in zip(agent.llm.chain if isinstance(agent.llm, LLM) else (), one.llm.chain, strict=False)
        if isinstance(llm, LLM) and llm.api_key is not None
    }


def modules_of(spec: CrewSpec) -> set[str]:
    """The modules that a worker must be able to load for a crew."""
    named = [spec.task_callback, spec.step_callback]
    for agent in spec.agents:
        models = [one for llm in agent.llm.chain for one in (llm, *(llm.behind.chain if llm.behind else ()))]
        named += [agent.step_callback, *(server.chosen_by for server in agent.mcps)]
        named += [*(llm.reference for llm in models), *(tool.reference for tool in agent.tools)]
    for task in spec.tasks:
        named += [task.condition, task.output_class, *task.callbacks]
        named += [guardrail.function for guardrail in task.guardrails]
        named += [tool.reference for tool in task.tools or ()]
    return {name.partition(":")[0] for name in named if name}


# -- agents ------------------------------------------------------------------------------------------------


def _staff(crew: Plan) -> Staff:
    """The crew's agents, and those that only its tasks name, each once (by identity: two may have equal roles); and who
    leads them."""
    named = [*crew.agents, *(task.agent for task in crew.tasks if task.agent)]
    workers = tuple({id(agent): agent for agent in named}.values())
    hierarchical = crew.process is Process.hierarchical
    manager = manager_of(crew.name, workers, crew.manager_agent, crew.manager_llm, wanted=hierarchical)
    return Staff(workers, manager, planner(crew.planning_llm) if crew.planning else None)


def _agent(agent: Agent, crew: Plan, settings: Settings) -> AgentSpec:
    respects = agent.respect_context_window
    if crew.respect_context_window is not None and "respect_context_window" not in agent.model_fields_set:
        respects = crew.respect_context_window
    owner = f"the agent {agent.role!r}"
    _refuse_names(agent.tools, owner, agent)
    return AgentSpec(
        role=agent.role,
        goal=agent.goal,
        backstory=agent.backstory,
        llm=llm_spec(agent.llm, f"of the agent {agent.role!r}", settings),
        tools=_tools(agent.tools, owner, settings),
        mcps=_servers(agent, settings),
        max_iter=agent.max_iter,
        max_rpm=agent.max_rpm,
        max_execution_time=agent.max_execution_time,
        max_retry_limit=agent.max_retry_limit,
        verbose=agent.verbose,
        cache=agent.cache,
        respect_context_window=respects,
        use_system_prompt=agent.use_system_prompt,
        system_template=agent.system_template,
        prompt_template=agent.prompt_template,
        response_template=agent.response_template,
        inject_date=agent.inject_date,
        date_format=agent.date_format,
        sandbox=_sandbox(agent, settings) if agent.allow_code_execution else None,
        step_callback=_callback(agent.step_callback, f"The step_callback of {owner}", settings),
        knowledge=pieces_of(agent.knowledge_sources, "Agent"),
        knowledge_limit=agent.knowledge_config.results_limit,
        memory=bool(crew.memory if agent.memory is None else agent.memory),
    )


def llm_spec(llm: str | LLM | BaseLLM | None, whose: str, settings: Settings) -> LLMSpec:
    """A model as it travels.

    Args:
        llm: None: the default one.
        whose: of whom it is, for an error.
        settings: those of this process.

    Raises:
        LiteralKey: it has one, and the worker is another process.
        NotPortable: it cannot travel.
    """
    if isinstance(llm, BaseLLM):
        what = f"The model {llm.model!r} {whose}"
        reference = portable(type(llm), what, settings)
        behind: LLMSpec | None = llm.of if isinstance(llm, Front) else None
        for one in behind.chain if behind else ():
            refuse_main(one.reference or "", what, settings)
        return LLMSpec(model=llm.model, reference=reference, fields=_fields(llm, what), behind=behind)
    if isinstance(llm, LLM):
        if llm.api_key is not None and not settings.embedded:
            raise errors.LiteralKey(model=llm.model, variable=_key_variable(llm.model))
        fallbacks = tuple(llm_spec(one, whose, settings) for one in llm.fallbacks)
        return llm.spec().model_copy(update={"fallbacks": fallbacks})
    return LLMSpec(model=llm or settings.default_model)


def _fields(llm: BaseLLM, what: str) -> dict[str, Any]:
    if llm.given is None or isinstance(llm, Front):  # whose constructor knows how it travels
        return fields_of(llm, what)
    return arguments_of(llm, llm.given, llm.changed, what)


def _key_variable(model: str) -> str:
    provider = model.partition("/")[0] if "/" in model else "openai"
    return f"{provider.upper().replace('-', '_')}_API_KEY"


def _servers(agent: Agent, settings: Settings) -> tuple[ServerSpec, ...]:
    if agent.mcps and settings.embedded and find_spec(MCP_PACKAGE) is None:
        raise errors.McpMissing(agent=agent.role)
    servers = tuple(server.spec() for server in agent.mcps)
    for server in servers:
        refuse_main(server.chosen_by or "", f"The tool_filter of the MCP server {server.label!r}", settings)
    return servers


def _sandbox(agent: Agent, settings: Settings) -> str:
    name = agent.sandbox or settings.sandbox
    if settings.embedded:  # else it is for the workers to have it, each of which looks before a model is asked
        try:
            check(name, settings.sandbox_image)
        except errors.SandboxUnavailable as error:
            raise errors.SandboxMissing(agent=agent.role, **error.facts) from error
    return name


# -- tasks -------------------------------------------------------------------------------------------------


def _tasks(crew: Plan, staff: Staff, settings: Settings) -> Iterator[TaskSpec]:
    keys = _keys(crew)
    order = Dependencies(crew.name, crew.tasks)
    for at, task in enumerate(crew.tasks):
        agent = staff.doer(task)
        if agent is None:
            raise errors.AgentMissing(crew=crew.name, task=called(task, at))
        what = f"the task {called(task, at)}"
        coworkers = staff.coworkers(task)
        _refuse_names(agent.tools if task.tools is None else task.tools, what, agent, coworkers)
        answer = task.answer_class
        yield TaskSpec(
            key=keys[at],
            name=task.name,
            description=task.description,
            expected_output=task.expected_output,
            agent=staff.place(agent),
            context=order.context(at),
            after=order.after(at),
            tools=None if task.tools is None else _tools(task.tools, what, settings),
            coworkers=coworkers,
            output_format=_output_format(task),
            output_schema=answer.model_json_schema() if answer else None,
            output_class=_output_class(task, settings),
            output_file=task.output_file,
            create_directory=task.create_directory,
            markdown=task.markdown,
            callbacks=tuple(_callbacks(task, what, settings)),
            guardrails=tuple(_guardrails(task, what, settings)),
            guardrail_max_retries=task.guardrail_max_retries,
            human_input=task.human_input,
            condition=_condition(crew, at, settings),
            queue=_queue(settings, task.queue, agent.queue),
        )


def _callbacks(task: Task, what: str, settings: Settings) -> Iterator[str]:
    for function in filter(None, (task.callback, *task.callbacks)):
        yield portable_function(function, f"The callback of {what}", settings)


def _guardrails(task: Task, what: str, settings: Settings) -> Iterator[GuardrailSpec]:
    for given in task.all_guardrails:
        if isinstance(given, str):
            yield GuardrailSpec(criterion=given)
        else:
            yield GuardrailSpec(function=_callback(given, f"The guardrail of {what}", settings))


def _condition(crew: Plan, at: int, settings: Settings) -> str | None:
    task = crew.tasks[at]
    if not isinstance(task, ConditionalTask):
        return None
    name = called(task, at)
    if at == 0:
        reason = "it is the first, so there is no output to decide by: put a task before it, or make it a Task."
        raise errors.ConditionMisplaced(crew=crew.name, task=name, reason=reason)
    if task.async_execution:
        reason = "it has async_execution, so it would not wait for the output to decide by: leave that out."
        raise errors.ConditionMisplaced(crew=crew.name, task=name, reason=reason)
    return _callback(task.condition, f"The condition of the task {name}", settings)


def _output_format(task: Task) -> OutputFormat:
    return "pydantic" if task.output_pydantic else "json" if task.output_json else "raw"


def _output_class(task: Task, settings: Settings) -> str | None:
    """The schema is enough for the work, so a class that cannot travel is none to the functions that look at the output."""
    if task.output_pydantic is None:
        return None
    try:
        return portable(task.output_pydantic, "output_pydantic", settings)
    except errors.NotPortable:
        return None


def _keys(crew: Plan) -> list[str]:
    """A key for each task that stays the same as long as the task does: its name and a digest of its definition."""
    keys: list[str] = []
    names: set[str | None] = {"plan"} if crew.planning else set()
    for task in crew.tasks:
        if task.name in names:
            raise errors.DuplicateTaskName(crew=crew.name, task=task.name)
        names |= {task.name} if task.name else set()
        text = f"{task.description}\0{task.expected_output}"
        key = f"{task.name or ''}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        before = sum(known.partition("#")[0] == key for known in keys)
        keys.append(f"{key}#{before + 1}" if before else key)
    return keys


# -- what travels by name ----------------------------------------------------------------------------------


def _tools(tools: Sequence[BaseTool], owner: str, settings: Settings) -> tuple[ToolSpec, ...]:
    specs = tuple(ToolSpec.of(tool) for tool in tools)
    for spec in specs:
        refuse_main(spec.reference, f"The tool {spec.name!r} of {owner}", settings)
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise errors.DuplicateToolName(owner=owner, tool=name)
    return specs


def _refuse_names(tools: Sequence[BaseTool], owner: str, agent: Agent, coworkers: Sequence[int] = ()) -> None:
    """Those of the tools that come with coworkers, and with code execution."""
    taken = {DELEGATE_WORK, ASK_COWORKER} if coworkers else set()
    taken |= {RUN_PYTHON} if agent.allow_code_execution else set()
    for tool in tools:
        if tool.public_name in taken:
            raise errors.DuplicateToolName(owner=owner, tool=tool.public_name)


def _callback(function: Callable[..., Any] | None, what: str, settings: Settings) -> str | None:
    return None if function is None else portable_function(function, what, settings)


__all__ = ["Plan", "freeze", "lent_keys", "llm_spec", "modules_of"]
