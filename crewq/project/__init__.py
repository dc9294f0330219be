"""Projects: crews whose agents and tasks are described in YAML, with CrewAI's decorators.

    @CrewBase
    class Research:
        agents_config = "config/agents.yaml"  # relative to this module; may be left out
        tasks_config = "config/tasks.yaml"

        @agent
        def researcher(self) -> Agent:
            return Agent(config=self.agents_config["researcher"], tools=[search])

        @task
        def survey(self) -> Task:
            return Task(config=self.tasks_config["survey"])

        @crew
        def crew(self) -> Crew:
            return Crew(agents=self.agents, tasks=self.tasks)

    Research().crew().kickoff(inputs={"topic": "bees"})

In YAML, `agent`, `context`, `tools`, `llm`, `step_callback`, `callbacks`, `output_json` and `output_pydantic` name methods
(and classes) of the project. Nothing is read when the module is imported: a file is read when its entries are first asked
for. A `.env` file is not read here, unlike CrewAI; `crewq` on the command line reads that of the working directory.
"""

from __future__ import annotations

from functools import cached_property, partial
from inspect import getattr_static
from typing import TypeVar

from crewq import errors
from crewq.project.entries import Entries
from crewq.project.marks import (
    MARK,
    PROJECT,
    after_kickoff,
    agent,
    before_kickoff,
    cache_handler,
    callback,
    crew,
    is_marked,
    llm,
    output_json,
    output_pydantic,
    task,
    tool,
)

Project = TypeVar("Project", bound=type)


def CrewBase(project: Project) -> Project:  # noqa: N802  # CrewAI's name
    """Make a project of a class: `self.agents_config` and `self.tasks_config` are the entries of its YAML files.

    Raises:
        CrewMethodMissing: it has no method under `@crew`.
    """
    if not any(is_marked(getattr(project, name, None), "crew") for name in dir(project)):
        raise errors.CrewMethodMissing(project=project.__name__)
    for field, standard in (("agents_config", "config/agents.yaml"), ("tasks_config", "config/tasks.yaml")):
        path = getattr_static(project, field, standard)
        if isinstance(path, str):  # else a base class has read it already, or it is the project's own affair
            entries = cached_property(partial(Entries, field=field, path=path))
            entries.__set_name__(project, field)
            setattr(project, field, entries)
    setattr(project, MARK, PROJECT)
    return project


__all__ = [
    "CrewBase",
    "after_kickoff",
    "agent",
    "before_kickoff",
    "cache_handler",
    "callback",
    "crew",
    "llm",
    "output_json",
    "output_pydantic",
    "task",
    "tool",
]
