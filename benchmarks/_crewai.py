"""The same crew on CrewAI, in one process, as its documentation has it: with `kickoff_for_each`, or `akickoff_for_each`.

Run by an interpreter that has CrewAI, without crewq: `python -m benchmarks._crewai sync|async`.
"""

from __future__ import annotations

import asyncio
import os
import sys

from crewai import LLM, Agent, Crew, Task  # type: ignore[import-not-found]

from benchmarks._serve import serve


def three_tasks() -> Crew:
    """A fresh crew, with the texts of `benchmarks._crews`."""
    llm = LLM(model=os.environ["BENCH_MODEL"], base_url=os.environ["BENCH_MODEL_URL"])
    writer = Agent(role="Writer", goal="Write", backstory="You write.", llm=llm)
    tasks = [
        Task(name=f"step {at}", description=f"Step {at} about {{topic}}", expected_output="An answer.", agent=writer)
        for at in range(3)
    ]
    return Crew(agents=[writer], tasks=tasks)


def in_turn(items: int) -> list[object]:
    """One run after another."""
    return list(three_tasks().kickoff_for_each([{"topic": str(at)} for at in range(items)]))


def at_once(items: int) -> list[object]:
    """All at once, as far as CrewAI can."""
    return list(asyncio.run(three_tasks().akickoff_for_each([{"topic": str(at)} for at in range(items)])))


if __name__ == "__main__":
    serve(at_once if sys.argv[1] == "async" else in_turn)
