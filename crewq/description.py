"""A crew as a person describes it: what it is made of, and how it travels."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from crewq import lacking
from crewq.freeze import Plan, freeze
from crewq.knowledge import BaseKnowledgeSource
from crewq.language_model import LLM
from crewq.member import Member, digest_of, on_or_off
from crewq.members import Agent, Task, copies
from crewq.model import BaseLLM
from crewq.outputs import UsageMetrics
from crewq.settings import Settings
from crewq.spec import CrewSpec, Process, templates
from crewq.template import names_in


class CrewDescription(Member):
    """A crew as a person describes it: agents, and the tasks they do, in order.

    Fields, beside CrewAI's own meaning:
        max_rpm: model calls per minute of all its agents together, over the whole fleet.
        respect_context_window: the default of its agents.
        manager_agent, manager_llm: who does the tasks of a hierarchical crew, by giving work to its agents.
        planning: a first step of each run, `plan`, in which all tasks are planned; each task is told the plan.
        stream: kickoff gives a `CrewStreamingOutput`: what the agents say, as they say it. The runs of a batch are followed
            one by one: `CrewStreamingOutput(run)`.
        before_kickoff_callbacks, after_kickoff_callbacks: called in this process, inputs → inputs and output → output.
        on_change: what `resume` does with a run of this crew as it was before: go on with the crew as it is now
            (`resume`), with the crew as it was (`pin`), or not at all (`refuse`). A run that nobody stopped always goes on
            with the crew that it was started with.
        verbose: `kickoff` tells on stdout what happens in its tasks, or in those of the agents that are verbose.
        queue: the Celery queue of its jobs, for workers that have what it needs (`crewq worker -- -Q NAME`); None:
            CREWQ_QUEUE. A task or its agent may name another. In embedded mode, the one worker does all.
        knowledge_sources: what all its agents go by, as those of an agent.
        memory: each task is told what earlier runs of the crew put out, as far as they have to do with it: of crews of this
            `name`, so give it one, and for the same tenant. It is found by the words that it shares with the task, without a
            further call, among the 200 tasks that completed last, and for as long as their runs are kept.
        task_callback, step_callback: called in the worker; they travel by their name.
        output_log_file: what became of each task of a run is added to it in this process, once the run's output, or its
            failure, is looked at: logs.txt if it is True, else a .txt or a .json.
    """

    lacks = lacking.OF_A_CREW
    lacks_methods = lacking.METHODS_OF_A_CREW
    ignores = lacking.IGNORED_OF_A_CREW

    agents: list[Agent] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    process: Process = Process.sequential
    verbose: bool = False
    name: str = "crew"
    max_rpm: int | None = Field(default=None, ge=1)
    cache: bool = False
    respect_context_window: bool | None = None
    manager_agent: Agent | None = None
    manager_llm: str | LLM | BaseLLM | None = None
    planning: bool = False
    planning_llm: str | LLM | BaseLLM | None = None
    stream: bool = False
    step_callback: Callable[..., Any] | None = None
    task_callback: Callable[..., Any] | None = None
    before_kickoff_callbacks: list[Callable[..., Any]] = Field(default_factory=list)
    after_kickoff_callbacks: list[Callable[..., Any]] = Field(default_factory=list)
    queue: str | None = Field(default=None, min_length=1)
    on_change: Literal["resume", "pin", "refuse"] = "resume"
    output_log_file: bool | str | None = None
    knowledge_sources: list[BaseKnowledgeSource] | None = None
    memory: bool | None = False
    usage_metrics: UsageMetrics | None = None
    function_calling_llm: Any = None  # without effect, as is
    checkpoint: Any = None

    @field_validator("memory", mode="before")
    @classmethod
    def _remembers(cls, given: Any) -> Any:
        return on_or_off(cls, "memory", given)

    @property
    def key(self) -> str:
        """The same for crews of equal agents and tasks (CrewAI's: the MD5 of their keys)."""
        return digest_of(*(agent.key for agent in self.agents), *(task.key for task in self.tasks))

    def fetch_inputs(self) -> set[str]:
        """The names of all `{placeholders}` of the crew."""
        return {name for _, text in templates(self.spec()) for name in names_in(text)}

    def spec(self, settings: Settings | None = None) -> CrewSpec:
        """The crew as it travels under some settings; None: those of the environment.

        Raises:
            CrewError, NotPortable: it cannot run as it is written.
        """
        return freeze(self._plan(), settings or Settings.from_env(os.environ))

    def copy(self, **_: Any) -> Self:
        """A crew of copies of its agents and tasks, to be changed by itself. Runs share nothing, so they need none."""
        copied = super().copy()
        copied.agents, copied.tasks = copies(self.agents, self.tasks)
        copied.manager_agent = self.manager_agent.copy() if self.manager_agent else None
        copied.usage_metrics = None
        return copied

    def _plan(self) -> Plan:
        """It as `freeze` takes it."""
        return Plan(**{name: value for name, value in self if name in Plan._fields})

    @property
    def _first(self) -> int:
        """The position of its first task in a run: with `planning`, another one stands before it."""
        return int(self.planning)


__all__ = ["CrewDescription"]
