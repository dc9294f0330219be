"""Who leads a crew beside the agents that a person gives it: the manager of a hierarchical one, and its planner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crewq import errors
from crewq.language_model import LLM
from crewq.members import Agent, Task
from crewq.model import BaseLLM
from crewq.spec import PLAN_KEY, AgentSpec, TaskSpec

MANAGER = {
    "role": "Crew Manager",
    "goal": "Have every task of the crew done well, by those of it who are best at it.",
    "backstory": (
        "You lead a crew. You split a task where that helps, give each piece to the coworker whom it suits with all that "
        "is needed to do it, look at what comes back, ask for better where it is not good enough, and put the results "
        "together. What you hand in as the answer is complete, and you stand for it."
    ),
}
PLANNER = {
    "role": "Planner",
    "goal": "A plan by which each task of the crew can be done well, with no work done twice.",
    "backstory": "You think before others work: what each needs, in which order, and what the ones after them build on.",
}


@dataclass(frozen=True)
class Staff:
    """Everybody in a crew, in the order in which they stand in its spec.

    Fields:
        workers: the agents that the crew and its tasks name.
        manager: who does all tasks, in a hierarchical crew.
        planner: who plans them first, in a crew with `planning`.
    """

    workers: tuple[Agent, ...]
    manager: Agent | None = None
    planner: Agent | None = None

    @property
    def all(self) -> tuple[Agent, ...]:
        """All of them."""
        return (*self.workers, *filter(None, (self.manager, self.planner)))

    def place(self, agent: Agent) -> int:
        """The position of an agent, by identity: two may have equal roles."""
        return next(at for at, one in enumerate(self.all) if one is agent)

    def doer(self, task: Task) -> Agent | None:
        """Who does a task."""
        return self.manager or task.agent

    def coworkers(self, task: Task) -> tuple[int, ...]:
        """The positions of those to whom the one who does a task can give work."""
        if self.manager:
            return (self.place(task.agent),) if task.agent else tuple(range(len(self.workers)))
        if task.agent is None or not task.agent.allow_delegation:
            return ()
        return tuple(at for at, one in enumerate(self.workers) if one is not task.agent)


def manager_of(
    crew: str, workers: Sequence[Agent], given: Agent | None, llm: str | LLM | BaseLLM | None, *, wanted: bool
) -> Agent | None:
    """The manager of a crew: the one that was given, or one with this model; None if it is not `wanted`.

    Raises:
        ManagerMissing: neither was given.
        ManagerUnfit: it is not wanted, or cannot manage these workers.
    """
    if not wanted and given is None and llm is None:
        return None
    if not wanted:
        raise errors.ManagerUnfit(crew=crew, reason="only a crew with process=Process.hierarchical has one.")
    if given is None and llm is None:
        raise errors.ManagerMissing(crew=crew)
    manager = given or Agent(**MANAGER, llm=llm)
    if any(one is manager for one in workers):
        raise errors.ManagerUnfit(
            crew=crew, reason="it is also one of the crew's agents: take it out of Crew(agents=[...]) and of the tasks."
        )
    if manager.tools:
        raise errors.ManagerUnfit(crew=crew, reason="it has tools: give them to the agents that it gives work to.")
    if not workers:
        raise errors.ManagerUnfit(crew=crew, reason="it has nobody to give work to: name agents in Crew(agents=[...]).")
    return manager


def planner(llm: str | LLM | BaseLLM | None) -> Agent:
    """An agent that plans, with this model or the default one."""
    return Agent(**PLANNER, llm=llm)


def planned_first(tasks: Sequence[TaskSpec], agents: Sequence[AgentSpec], planner: int) -> Iterator[TaskSpec]:
    """The tasks with one before them in which their plan is made; it is given to all of them."""
    yield TaskSpec(
        key=PLAN_KEY,
        name="plan",
        description=_to_be_planned(tasks, agents),
        expected_output=(
            "For each task, under its name: the steps to take, the tools to use for them, and what to hand on to the tasks "
            "after it. Nothing of the work itself."
        ),
        agent=planner,
    )
    for task in tasks:
        context, after = (tuple(at + 1 for at in places) for places in (task.context, task.after))
        yield task.model_copy(update={"context": (0, *context), "after": after or (0,)})


def _to_be_planned(tasks: Sequence[TaskSpec], agents: Sequence[AgentSpec]) -> str:
    listed = "\n\n".join(_listed(at, task, agents) for at, task in enumerate(tasks, start=1))
    return f"Plan how a crew does its tasks, which are these.\n\n{listed}"


def _listed(at: int, task: TaskSpec, agents: Sequence[AgentSpec]) -> str:
    agent = agents[task.agent]
    tools = ", ".join(tool.name for tool in (agent.tools if task.tools is None else task.tools))
    helped = ", ".join(agents[other].role for other in task.coworkers)
    parts = (
        f"{at}. {task.label}\n{task.description}",
        task.expected_output and f"What the answer must be: {task.expected_output}",
        f"Done by: {agent.role}, who works towards: {agent.goal}",
        tools and f"Tools: {tools}",
        helped and f"Can give work to: {helped}",
    )
    return "\n".join(filter(None, parts))


__all__ = ["MANAGER", "PLANNER", "Staff", "manager_of", "planned_first", "planner"]
