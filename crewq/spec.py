"""A crew as it travels: frozen, validated data without behaviour, the same JSON in Redis, in a worker and in a replay.

Templates stay templates here and inputs stay with the run, so ten thousand runs of one crew share one spec, which is
stored under its digest. Everything that a person may leave open (the context of a task, the order of tasks) is settled
before a spec is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crewq import errors
from crewq.outputs import OutputFormat
from crewq.settings import DEFAULT_QUEUE
from crewq.tool_spec import ToolSpec

SPEC_VERSION: Final = 1
DELEGATE_WORK, ASK_COWORKER = "delegate_work", "ask_coworker"  # the tools of an agent that has coworkers
RUN_PYTHON: Final = "run_python"  # the tool of one that may run code
PLAN_KEY: Final = "plan"  # that of the task in which a crew with `planning` plans; other keys have a colon


class Process(StrEnum):
    """How a crew goes about its tasks (CrewAI's names)."""

    sequential = "sequential"
    hierarchical = "hierarchical"


class Frozen(BaseModel):
    """What crosses a process: nothing in it changes, and nothing unknown is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LLMSpec(Frozen):
    """Which model an agent asks, and how. It never holds a key.

    Fields:
        model: the name as litellm takes it, or that of a model class of the user's own.
        options: temperature, max_tokens, base_url and the like.
        reference: the class of the user's own model, and
        fields: its fields.
        behind: the model that this one stands before, if it is a `Front`.
        rpm, tpm, max_concurrency: the limits of it that all workers together keep to.
        price: US dollars for a token of a question and for one of an answer; None: as litellm knows it.
        fallbacks: which models to ask, one after the other, where it fails.
    """

    model: str
    options: dict[str, Any] = Field(default_factory=dict)
    reference: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    behind: LLMSpec | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_concurrency: int | None = None
    price: tuple[float, float] | None = None
    fallbacks: tuple[LLMSpec, ...] = ()

    @property
    def chain(self) -> tuple[LLMSpec, ...]:
        """Which models to ask, in order, until one answers."""
        return (self, *self.fallbacks)


class ServerSpec(Frozen):
    """A server of tools that speaks MCP. It never holds a key: `${NAME}` in a text stands for that variable of the worker's
    environment. Times are in seconds.

    Fields:
        transport: how it is spoken to.
        command, args, env: of a process that the worker starts.
        url, headers, verify: of a server elsewhere.
        allowed: the tools that the agent is given; None: all but those that are
        blocked: not given.
        chosen_by: a function, by reference, that is asked of each tool whether the agent is given it.
    """

    transport: Literal["stdio", "http", "sse"]
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    verify: bool | str = True
    allowed: tuple[str, ...] | None = None
    blocked: tuple[str, ...] = ()
    chosen_by: str | None = None
    connect_timeout: float
    call_timeout: float

    @property
    def label(self) -> str:
        """What to call it where a person reads: nothing of it that may be private."""
        return PurePath(self.command).name or urlsplit(self.url).hostname or self.url


class AgentSpec(Frozen):
    """An agent: who it is, what it may use, and how far it may go. Times are in seconds."""

    role: str
    goal: str
    backstory: str
    llm: LLMSpec
    tools: tuple[ToolSpec, ...] = ()
    mcps: tuple[ServerSpec, ...] = ()
    max_iter: int = 25
    max_rpm: int | None = None
    max_execution_time: float | None = None
    max_retry_limit: int = 2
    verbose: bool = False
    cache: bool = True
    respect_context_window: bool = True
    use_system_prompt: bool = True
    system_template: str | None = None
    prompt_template: str | None = None
    response_template: str | None = None
    inject_date: bool = False
    date_format: str = "%Y-%m-%d"
    sandbox: str | None = None  # where the code that its model writes is run; None: it may not run any
    step_callback: str | None = None
    knowledge: tuple[str, ...] = ()  # texts in pieces, of which each task is told
    knowledge_limit: int = 5  # those that have most to do with it
    memory: bool = False  # whether its work is told of what earlier runs of the crew put out


class ToolFilterContext(Frozen):
    """What a filter of a server's tools is told of besides the tool (CrewAI's names).

    Fields:
        agent: who is to be given the tool.
        server_name: what the server is called.
        run_context: nothing, as in CrewAI.
    """

    agent: AgentSpec
    server_name: str
    run_context: dict[str, Any] | None = None


class GuardrailSpec(Frozen):
    """What an answer must pass: a function of the user's, by reference, or a criterion that the agent's model judges by."""

    function: str | None = None
    criterion: str | None = None


class TaskSpec(Frozen):
    """A task: what to do, who does it, and what it stands on.

    Fields:
        key: stays the same over processes and versions of the crew as long as the task does.
        agent: the position of its agent in the crew.
        context: the positions of the tasks whose outputs it is given.
        after: the positions of the tasks that must have ended before it starts.
        tools: instead of its agent's.
        coworkers: the positions of the agents that its agent can give work to.
        output_class: the class of the schema, by reference, for functions that look at the output; None: it cannot travel.
        condition: a function, by reference, of the output of the task just before it; if it says no, this one is skipped.
        queue: the Celery queue that its jobs go through; None: the crew's.
    """

    key: str
    description: str
    expected_output: str = ""
    name: str | None = None
    agent: int
    context: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    tools: tuple[ToolSpec, ...] | None = None
    coworkers: tuple[int, ...] = ()
    output_format: OutputFormat = "raw"
    output_schema: dict[str, Any] | None = None
    output_class: str | None = None
    output_file: str | None = None
    create_directory: bool = True
    markdown: bool = False
    callbacks: tuple[str, ...] = ()
    guardrails: tuple[GuardrailSpec, ...] = ()
    guardrail_max_retries: int = 3
    human_input: bool = False
    condition: str | None = None
    queue: str | None = None

    @property
    def label(self) -> str:
        """What to call it where a person reads: its name, else the first words of its description."""
        return self.name or " ".join(self.description.split()[:6])

    @property
    def before(self) -> int | None:
        """The position of the task just before it, whose output a condition is asked about: it waits for that always."""
        return max(self.after) if self.condition else None

    @property
    def reads(self) -> tuple[int, ...]:
        """The positions of the tasks whose outputs a worker needs for it."""
        return self.context if self.before is None else tuple(sorted({*self.context, self.before}))


class CrewSpec(Frozen):
    """A crew, whole. `queue` is the Celery queue of those of its tasks that name none; `stream` has the answers of its models
    told of as they come; `knowledge` is what all its agents go by, beside their own."""

    version: Literal[1] = SPEC_VERSION
    name: str
    queue: str = DEFAULT_QUEUE
    agents: tuple[AgentSpec, ...]
    tasks: tuple[TaskSpec, ...]
    process: Process = Process.sequential
    verbose: bool = False
    cache: bool = False
    stream: bool = False
    max_rpm: int | None = None
    task_callback: str | None = None
    step_callback: str | None = None
    knowledge: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _stands(self) -> Self:
        """Every position in it is that of an agent or of a task before."""
        for at, task in enumerate(self.tasks):
            if not all(0 <= agent < len(self.agents) for agent in (task.agent, *task.coworkers)):
                raise ValueError(f"task {at} names an agent that is not there")
            if not all(0 <= other < at for other in (*task.context, *task.after)):
                raise ValueError(f"task {at} names a task that does not come before it")
            if task.condition and not task.after:
                raise ValueError(f"task {at} has a condition and comes after none")
        return self

    def to_json(self) -> str:
        """The one JSON text of this crew: equal crews have equal texts."""
        return json.dumps(
            self.model_dump(mode="json", exclude_defaults=True) | {"version": self.version},
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> CrewSpec:
        """Read what `to_json` wrote.

        Raises:
            SpecTooNew: a newer crewq wrote it.
            RecordBroken: it is not a crew.
        """
        try:
            raw = json.loads(text)
            version = raw.get("version") if isinstance(raw, dict) else None
            if isinstance(version, int) and version > SPEC_VERSION:
                raise errors.SpecTooNew(version=version, known=SPEC_VERSION)
            return cls.model_validate_json(text)
        except (ValueError, RecursionError) as error:  # the latter: brackets in brackets without end
            raise errors.RecordBroken(where=where, reason=_why(error)) from error

    def public_name(self, index: int) -> str:
        """What to call a task where anybody may read: its name, else its number. Its description is a prompt."""
        return self.tasks[index].name or f"task {index + 1}"

    def queue_of(self, index: int) -> str:
        """The Celery queue that the jobs of a task go through."""
        return self.tasks[index].queue or self.queue

    def digest(self) -> str:
        """What identifies this crew's content."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]


def _why(error: Exception) -> str:
    """What is wrong with a text, without a word of it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}."
    return f"{str(error).splitlines()[0]}."


def templates(spec: CrewSpec) -> Iterator[tuple[str, str]]:
    """Every text of a crew that may hold `{inputs}`, and where it stands."""
    for agent in spec.agents:
        for field in ("role", "goal", "backstory"):
            yield f"{field} of the agent {agent.role!r}", getattr(agent, field)
    for task in spec.tasks:
        if task.key == PLAN_KEY:
            continue  # it is made of what stands in the others
        for field in ("description", "expected_output", "output_file"):
            yield f"{field} of the task {task.label!r}", getattr(task, field) or ""


__all__ = [
    "ASK_COWORKER",
    "DELEGATE_WORK",
    "PLAN_KEY",
    "RUN_PYTHON",
    "SPEC_VERSION",
    "AgentSpec",
    "CrewSpec",
    "Frozen",
    "GuardrailSpec",
    "LLMSpec",
    "Process",
    "ServerSpec",
    "TaskSpec",
    "ToolFilterContext",
    "templates",
]
