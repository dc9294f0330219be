"""What the decorators of a project do, without YAML."""

from __future__ import annotations

from typing import Any

import pytest

from crewq import LLM, Agent, Crew, CrewOutput, Task, errors
from crewq.project import (
    CrewBase,
    after_kickoff,
    agent,
    before_kickoff,
    cache_handler,
    crew,
    llm,
    task,
)


def clerk(role: str = "Clerk", **given: Any) -> Agent:
    return Agent(role=role, goal="g", backstory="b", **given)


@CrewBase
class Office:
    """Its methods stand in another order than the crew needs, and one agent is not named by a task."""

    @before_kickoff
    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs | {"prepared": True}

    @after_kickoff
    def finish(self, output: CrewOutput) -> CrewOutput:
        return output

    @llm
    def model(self, temperature: float = 0.0) -> LLM:
        return LLM(model="m", temperature=temperature)

    @agent
    def second(self) -> Agent:
        return clerk("Second", llm=self.model())

    @agent
    def first(self) -> Agent:
        return clerk("First", llm=self.model())

    @task
    def write(self) -> Task:
        return Task(description="Write.", agent=self.first(), context=[self.read()])

    @task
    def read(self) -> Task:
        return Task(description="Read.", agent=self.second(), name="reading")

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=[self.read(), self.write()])  # type: ignore[attr-defined]


def test_a_method_is_called_once_for_each_instance_and_argument() -> None:
    office, other = Office(), Office()
    assert office.first() is office.first()
    assert office.first() is not other.first()
    assert office.first().llm is office.second().llm is office.model()
    assert office.model(1.0) is office.model(1.0) is not office.model()
    assert office.crew() is office.crew()


def test_tasks_and_agents_are_collected_in_the_order_of_definition() -> None:
    office = Office()
    made = office.crew()
    assert office.tasks == [office.write(), office.read()]  # type: ignore[attr-defined]
    assert [member.role for member in office.agents] == ["Second", "First"]  # type: ignore[attr-defined]
    assert [part.name for part in made.tasks] == ["reading", "write"]


def test_a_task_is_called_like_its_method_unless_it_has_a_name() -> None:
    assert (Office().write().name, Office().read().name) == ("write", "reading")


def test_the_crew_is_called_like_the_class_and_calls_back() -> None:
    office = Office()
    made = office.crew()
    assert made.name == "Office"
    assert made.before_kickoff_callbacks == [office.prepare]
    assert made.after_kickoff_callbacks == [office.finish]


def test_a_class_inherits_and_overrides() -> None:
    @CrewBase
    class Branch(Office):
        @agent
        def second(self) -> Agent:
            return clerk(f"Deputy of {super().second().role}")

        @task
        def close(self) -> Task:
            return Task(description="Close.", agent=self.first())

        @crew
        def crew(self) -> Crew:
            made = super().crew()
            made.tasks = [*made.tasks, self.close()]
            return made

    branch = Branch()
    made = branch.crew()
    assert [part.name for part in made.tasks] == ["reading", "write", "close"]
    assert [member.role for member in branch.agents] == ["Deputy of Second", "First"]  # type: ignore[attr-defined]
    assert made.name == "Branch"
    assert len(made.before_kickoff_callbacks) == 1


def test_a_project_without_crew_is_refused() -> None:
    with pytest.raises(errors.CrewMethodMissing, match="Idle is under @CrewBase, but none of its methods"):

        @CrewBase
        class Idle:
            pass


def test_a_class_that_is_no_project_is_refused() -> None:
    class Bare:
        @agent
        def first(self) -> Agent:
            return clerk()

    with pytest.raises(errors.NotAProject, match=r"Bare\.first is under @agent, but its class is not under @CrewBase"):
        Bare().first()


@pytest.mark.parametrize(("made", "said"), [(None, "nothing"), ("Clerk", "one of the class str")])
def test_a_method_that_returns_something_else_is_refused(made: Any, said: str) -> None:
    @CrewBase
    class Wrong:
        @agent
        def first(self) -> Any:
            return made

        @crew
        def crew(self) -> Crew:
            return Crew()

    with pytest.raises(errors.WrongResult, match=rf"Wrong\.first .* an object of the class Agent, .* {said}\."):
        Wrong().crew()


def test_an_error_about_a_field_says_where_it_is() -> None:
    @CrewBase
    class Wrong:
        @agent
        def first(self) -> Agent:
            return Agent(role="r", goal="g", backstroy="b")  # type: ignore[call-arg]

        @crew
        def crew(self) -> Crew:
            return Crew()

    with pytest.raises(errors.UnknownField, match=r"^Wrong\.first: Agent has no field 'backstroy'\. Did you mean"):
        Wrong().crew()


def test_tasks_in_a_circle_are_refused_and_the_rest_stays_usable() -> None:
    @CrewBase
    class Round:
        @task
        def egg(self) -> Task:
            return Task(description="Lay.", context=[self.hen()])

        @task
        def hen(self) -> Task:
            return Task(description="Hatch.", context=[self.egg()])

        @agent
        def first(self) -> Agent:
            return clerk()

        @crew
        def crew(self) -> Crew:
            return Crew()

    project = Round()
    for _ in range(2):
        with pytest.raises(errors.NeedsItself, match=r"Round\.egg needs its own result"):
            project.crew()
    assert project.first().role == "Clerk"


def test_a_cache_of_ones_own_is_refused_with_advice() -> None:
    with pytest.raises(errors.UnsupportedField, match=r"@cache_handler keep.*Crew\(cache=True\)"):

        @cache_handler
        def keep(self: Any) -> None:
            """Nothing."""


def test_what_is_given_goes_before_the_config() -> None:
    config = {"role": "r", "goal": "g", "backstory": "b", "max_iter": 3}
    made = Agent(config=config, goal="mine", llm=None, max_iter=5)  # type: ignore[call-arg]
    assert (made.role, made.goal, made.max_iter) == ("r", "mine", 5)
    assert Agent(config=config | {"llm": "m"}, llm=None).llm == "m"  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidField, match=r"it must be a dict, such as self\.agents_config"):
        Agent(config="config/agents.yaml")  # type: ignore[call-arg]
