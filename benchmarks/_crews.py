"""The crews that are measured: tasks in a row, one model call each."""

from __future__ import annotations

import os

from crewq import LLM, Agent, Crew, Task


def three_tasks() -> Crew:
    """A fresh one."""
    return tasks_in_a_row(3)


def tasks_in_a_row(number: int) -> Crew:
    """A fresh one of so many tasks."""
    llm = LLM(model=os.environ["BENCH_MODEL"], base_url=os.environ["BENCH_MODEL_URL"])
    writer = Agent(role="Writer", goal="Write", backstory="You write.", llm=llm)
    tasks = [Task(name=f"step {at}", description=f"Step {at} about {{topic}}", agent=writer) for at in range(number)]
    return Crew(name="bench", agents=[writer], tasks=tasks)
