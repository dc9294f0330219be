"""The crew that is measured: three tasks in a row, one model call each."""

from __future__ import annotations

import os

from crewq import LLM, Agent, Crew, Task


def three_tasks() -> Crew:
    """A fresh one."""
    llm = LLM(model="openai/bench", base_url=os.environ["BENCH_MODEL_URL"])
    writer = Agent(role="Writer", goal="Write", backstory="You write.", llm=llm)
    tasks = [Task(name=f"step {at}", description=f"Step {at} about {{topic}}", agent=writer) for at in range(3)]
    return Crew(name="bench", agents=[writer], tasks=tasks)
