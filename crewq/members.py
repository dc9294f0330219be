"""What a person writes: `Agent`, `Task` and `LLM`, with CrewAI's names, defaults and meaning.

A field that is not there is an error that suggests the nearest one; a field of CrewAI's that crewq does not have yet is an
error that says so. Nothing that was written is silently ignored.
"""

from __future__ import annotations

import importlib
import inspect
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator

from crewq import lacking
from crewq.foreign_tools import adapted
from crewq.knowledge import BaseKnowledgeSource, KnowledgeConfig
from crewq.language_model import LLM
from crewq.mcp import Server, as_server
from crewq.member import Member, digest_of, on_or_off
from crewq.model import BaseLLM
from crewq.outputs import TaskOutput
from crewq.template import checked_inputs, interpolate, require
from crewq.tools import BaseTool


class _NotSpecified:
    """The default context of a task: the outputs of the tasks before it. `None` and `[]` mean no context."""

    def __repr__(self) -> str:
        return "NOT_SPECIFIED"


NOT_SPECIFIED = _NotSpecified()

# What an answer must pass: `(output) -> (True, the output, or another text or output)` or `(False, what is wrong)`, or a
# criterion in words, by which the agent's own model judges.
Guardrail: TypeAlias = Callable[..., Any] | str


class Agent(Member):
    """Who works on a task. `role`, `goal` and `backstory` may hold `{inputs}`.

    Fields, beside CrewAI's own meaning:
        llm: a name, an `LLM`, or a model of your own (`BaseLLM`); None: CREWQ_MODEL, else CrewAI's variables.
        max_iter: how often the model is asked before it must answer.
        max_rpm: model calls per minute over the whole fleet; wins over the crew's.
        max_execution_time: seconds for a task, really enforced.
        max_retry_limit: how often a task that failed is tried again. Calls already paid for are not made again.
        config: fields as a dict, as an entry of a YAML file gives them; what is given beside it goes before.
        mcps: servers of tools (MCP), which the worker connects to: objects of `crewq.mcp`, or addresses, of which the
            part after a # names the one tool that is wanted.
        allow_delegation: gives it two tools: to have a coworker do a piece of work, and to ask one a question.
        allow_code_execution: gives it a tool that runs Python in a sandbox: no files, no network, no environment.
        code_execution_mode: "safe" is the only one: code of a model is never run in the worker itself.
        sandbox: "monty", a subset of Python that starts at once, or "container", all of it with the packages of an image;
            None: CREWQ_SANDBOX. This field is crewq's own, and so is
        queue: the Celery queue of its tasks, for workers that have what it needs (`crewq worker -- -Q NAME`); None: the crew's.
            Work that others give it is done where their task is.
        guardrail, guardrail_max_retries: for `kickoff` of the agent by itself, as in CrewAI; a crew's tasks have their own.
        knowledge_sources: what it goes by, of `crewq.knowledge`; of each task it is told the pieces that share words with it.
        knowledge_config: how many pieces.
        memory: whether its work is told of what earlier runs of the crew put out; None: as the crew says. See `Crew`.
        reasoning, max_reasoning_attempts, function_calling_llm, multimodal: taken with a warning, and without effect.
    """

    lacks = lacking.OF_AN_AGENT
    lacks_methods = lacking.METHODS_OF_AN_AGENT
    ignores = lacking.IGNORED_OF_AN_AGENT

    role: str
    goal: str
    backstory: str
    llm: str | LLM | BaseLLM | None = None
    tools: list[BaseTool] = Field(default_factory=list)
    mcps: list[Server] = Field(default_factory=list)
    max_iter: int = Field(default=25, ge=1)
    max_rpm: int | None = Field(default=None, ge=1)
    max_execution_time: float | None = Field(default=None, gt=0)
    max_retry_limit: int = Field(default=2, ge=0)
    verbose: bool = False
    cache: bool = True
    respect_context_window: bool = True
    use_system_prompt: bool = True
    system_template: str | None = None
    prompt_template: str | None = None
    response_template: str | None = None
    inject_date: bool = False
    date_format: str = "%Y-%m-%d"
    allow_delegation: bool = False
    allow_code_execution: bool = False
    code_execution_mode: Literal["safe"] = "safe"
    sandbox: Literal["monty", "container"] | None = None
    queue: str | None = Field(default=None, min_length=1)
    step_callback: Callable[..., Any] | None = None
    guardrail: Guardrail | Sequence[Guardrail] | None = None
    guardrail_max_retries: int = Field(default=3, ge=0)
    knowledge_sources: list[BaseKnowledgeSource] | None = None
    knowledge_config: KnowledgeConfig = Field(default_factory=KnowledgeConfig)
    memory: bool | None = None
    reasoning: bool = False
    max_reasoning_attempts: int | None = None
    function_calling_llm: Any = None
    multimodal: bool | None = False
    config: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)

    @property
    def key(self) -> str:
        """The same for agents of equal role, goal and backstory (CrewAI's: their MD5)."""
        return digest_of(self.role, self.goal, self.backstory)

    def interpolate_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Fill its `{placeholders}` in, for good. A kickoff does that too, for its own run only.

        Args:
            inputs: their values; none at all leaves them as they are.

        Raises:
            InputError: one is missing, or of a kind that no input has.
        """
        _fill(self, inputs, "role", "goal", "backstory")

    @field_validator("code_execution_mode", mode="before")
    @classmethod
    def _is_safe(cls, given: Any) -> Any:
        if given == "unsafe":
            raise ValueError(
                "what a model writes is never run in the worker itself, beside its keys and files. Leave it out; where all of "
                'Python and its packages are wanted, set sandbox="container"'
            )
        return given

    @model_validator(mode="before")
    @classmethod
    def _read_llm(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("llm"), dict):
            return {**given, "llm": LLM(**given["llm"])}
        return given

    @field_validator("tools", mode="before")
    @classmethod
    def _adapt_tools(cls, given: Any) -> Any:
        return [adapted(one) for one in given] if isinstance(given, (list, tuple)) else given

    @field_validator("knowledge_config", mode="before")
    @classmethod
    def _usual_config(cls, given: Any) -> Any:
        return KnowledgeConfig() if given is None else given

    @field_validator("memory", mode="before")
    @classmethod
    def _remembers(cls, given: Any) -> Any:
        return on_or_off(cls, "memory", given)

    @field_validator("mcps", mode="before")
    @classmethod
    def _read_servers(cls, given: Any) -> Any:
        return [as_server(one) for one in given] if isinstance(given, (list, tuple)) else given or []


class Task(Member):
    """What to do. `description`, `expected_output` and `output_file` may hold `{inputs}`.

    Fields, beside CrewAI's own meaning:
        context: the tasks whose outputs it is given; left out: all before it; None or []: none.
        async_execution: the tasks after it do not wait for it, until one that does uses it or is not async itself.
        output_pydantic, output_json: the answer must fit this class, and comes back as one (or as its dict).
        output_file: written by the worker, below CREWQ_OUTPUT_DIR.
        config: fields as a dict, as an entry of a YAML file gives them; what is given beside it goes before.
        callback, callbacks: called in the worker with the `TaskOutput`, one after the other; they travel by their names, so
            they must be functions of a module. (`callbacks` is CrewAI's name in YAML.)
        guardrail, guardrails: what each answer must pass, in order, before it counts (`guardrails` wins): functions of
            the `TaskOutput`, called in the worker, or criteria in words, by which the agent's own model judges.
        guardrail_max_retries: how often each may refuse the answer, and have the agent mend it, before the task fails.
        human_input: the run is paused until a person accepts the answer or says what to change: `Run.answer`.
        max_retries: CrewAI's old name of guardrail_max_retries, which it stands for with a warning.
        output, start_time, end_time, prompt_context: filled in by a run of its crew that is waited for. What the agent did in
            it is there too, under CrewAI's names: `execution_duration`, `retry_count`, `used_tools`, `tools_errors`,
            `delegations` and `processed_by_agents`.
        queue: the Celery queue that it goes through; None: that of its agent, or else the crew's. This field is crewq's own.
    """

    lacks = lacking.OF_A_TASK
    lacks_methods = lacking.METHODS_OF_A_TASK

    description: str
    expected_output: str = ""
    name: str | None = None
    agent: Agent | None = None
    context: Any = NOT_SPECIFIED  # a list of tasks, or None
    async_execution: bool = False
    tools: list[BaseTool] | None = None
    output_json: type[BaseModel] | None = None
    output_pydantic: type[BaseModel] | None = None
    output_file: str | None = None
    create_directory: bool = True
    markdown: bool = False
    callback: Callable[..., Any] | None = None
    callbacks: list[Callable[..., Any]] = Field(default_factory=list)
    guardrail: Guardrail | Sequence[Guardrail] | None = None
    guardrails: Guardrail | Sequence[Guardrail] | None = None
    guardrail_max_retries: int = Field(default=3, ge=0)
    max_retries: int | None = Field(default=None, ge=0)
    human_input: bool = False
    queue: str | None = Field(default=None, min_length=1)
    output: TaskOutput | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    prompt_context: str | None = None
    config: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)

    _id: uuid.UUID = PrivateAttr(default_factory=uuid.uuid4)

    @field_validator("tools", mode="before")
    @classmethod
    def _adapt_tools(cls, given: Any) -> Any:
        return [adapted(one) for one in given] if isinstance(given, (list, tuple)) else given

    def copy(self, agents: Sequence[Agent] = (), task_mapping: Mapping[str, Task] | None = None, **_: Any) -> Self:
        """A task like it, that has not been done yet.

        Args:
            agents: the one of them that has its agent's role becomes its agent; without one, that stays.
            task_mapping: by the keys of tasks, what is to stand in their place in its context.
        """
        copied = super().copy()
        copied._id = uuid.uuid4()
        copied.output = copied.start_time = copied.end_time = copied.prompt_context = None
        role = self.agent.role if self.agent else None
        copied.agent = next((agent for agent in agents if agent.role == role), self.agent)
        if isinstance(self.context, list):
            copied.context = [(task_mapping or {}).get(task.key, task) for task in self.context]
        return copied

    def interpolate_inputs_and_add_conversation_history(self, inputs: Mapping[str, Any]) -> None:
        """Fill its `{placeholders}` in, for good; arguments and errors as for an agent. (The name is CrewAI's.)"""
        _fill(self, inputs, "description", "expected_output", "output_file")

    @property
    def key(self) -> str:
        """The same for tasks of equal description and expected output (CrewAI's: their MD5)."""
        return digest_of(self.description, self.expected_output)

    @property
    def id(self) -> uuid.UUID:
        """This object's own id; `Crew.replay` takes it for the latest run that this crew object started."""
        return self._id

    @property
    def execution_duration(self) -> float | None:
        """The seconds that it took in the latest run of its crew that was waited for; None: there is none yet."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    def prompt(self) -> str:
        """What its agent is told of it, but for the outputs of earlier tasks: the conversation has all of it,
        `output.messages`."""
        words: str = importlib.import_module("crewq.agent.prompts").asked_for(
            self.description, self.expected_output, markdown=self.markdown
        )
        return words

    @property
    def retry_count(self) -> int:
        """How many of its agent's answers guardrails refused, in the latest run of its crew that was waited for."""
        return self.output.effort.refusals if self.output else 0

    @property
    def used_tools(self) -> int:
        """How many calls of tools its agent made; likewise, as are the following."""
        return sum(self.output.effort.used_tools.values()) if self.output else 0

    @property
    def tools_errors(self) -> int:
        """How many of them came to nothing; `output.tool_failures` tells which."""
        return len(self.output.tool_failures) if self.output else 0

    @property
    def delegations(self) -> int:
        """How many pieces of the work coworkers did."""
        return len(self.output.effort.coworkers) if self.output else 0

    @property
    def processed_by_agents(self) -> set[str]:
        """The roles of those who worked on it."""
        return {self.output.agent, *self.output.effort.coworkers} if self.output else set()

    @property
    def answer_class(self) -> type[BaseModel] | None:
        """The class that the answer must fit, if any."""
        return self.output_pydantic or self.output_json

    @property
    def all_guardrails(self) -> list[Guardrail]:
        """What each answer must pass, in order."""
        given = self.guardrails or self.guardrail or ()
        return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]

    @model_validator(mode="before")
    @classmethod
    def _read_max_retries(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("max_retries") is None or "guardrail_max_retries" in given:
            return given
        warnings.warn("Task(max_retries=...) is now called guardrail_max_retries.", DeprecationWarning, stacklevel=4)
        return {**given, "guardrail_max_retries": given["max_retries"]}

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for guardrail in self.all_guardrails:
            if problem := _one_argument_missing(guardrail, "guardrail"):
                raise ValueError(problem)
        if self.output_json and self.output_pydantic:
            raise ValueError("output_json and output_pydantic exclude each other: keep one")
        given = [] if self.context is NOT_SPECIFIED or self.context is None else self.context
        if not isinstance(given, list) or not all(isinstance(task, Task) for task in given):
            raise ValueError("context must be a list of Task objects, such as context=[first_task]")
        return self


class ConditionalTask(Task):
    """A task that is done only if its `condition`, a function of the output of the task before it, returns True.

    It is asked in the worker. A task that is not done is skipped: its output has no text, and the crew's is that of the
    last task that has one. The first task of a crew, and one with `async_execution`, cannot be conditional.
    """

    condition: Callable[..., Any]

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if problem := _one_argument_missing(self.condition, "condition"):
            raise ValueError(problem)
        return self

    def should_execute(self, context: TaskOutput) -> bool:
        """What its condition says of an output."""
        return bool(self.condition(context))

    def get_skipped_task_output(self) -> TaskOutput:
        """The output that it has when it is skipped."""
        return TaskOutput(description=self.description, name=self.name, agent=self.agent.role if self.agent else "")


def _fill(member: Agent | Task, inputs: Mapping[str, Any], *fields: str) -> None:
    values = checked_inputs(inputs)
    texts = {name: text for name in fields if (text := getattr(member, name))}
    kind = type(member).__name__
    require(kind, ((f"{name} of the {kind.lower()}", text) for name, text in texts.items()), values)
    for name, text in texts.items():
        setattr(member, name, interpolate(text, values))


def copies(agents: Sequence[Agent], tasks: Sequence[Task]) -> tuple[list[Agent], list[Task]]:
    """Agents and tasks like these, which stand to each other as these do. (CrewAI tells them apart by role and key, so that
    two of a kind become one.)"""
    named = [*agents, *(task.agent for task in tasks if task.agent)]
    staff = {id(agent): agent.copy() for agent in {id(agent): agent for agent in named}.values()}
    done = {id(task): task.copy() for task in tasks}
    for task in done.values():
        task.agent = staff[id(task.agent)] if task.agent else None
        if isinstance(task.context, list):
            task.context = [done.get(id(other), other) for other in task.context]
    return [staff[id(agent)] for agent in agents], [done[id(task)] for task in tasks]


def _one_argument_missing(given: Guardrail, what: str) -> str | None:
    if isinstance(given, str):
        return None
    try:
        inspect.signature(given).bind(TaskOutput())
    except TypeError as error:
        return f"a {what} takes one argument, the output: def my_{what}(output) ({error})"
    return None


Task.model_rebuild()

__all__ = ["NOT_SPECIFIED", "Agent", "ConditionalTask", "Guardrail", "Task", "copies"]
