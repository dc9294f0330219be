"""The same crew on CrewAI, in one process, as its documentation has it. Run by an interpreter that has CrewAI, without crewq:
`python benchmarks/_crewai.py ITEMS`, in the environment that a stage has set; prints seconds of wall and of processor."""

from __future__ import annotations

import json
import os
import sys
import time

from crewai import LLM, Agent, Crew, Task  # type: ignore[import-not-found]


def three_tasks() -> Crew:
    """A fresh crew, with the texts of `benchmarks._crews`."""
    llm = LLM(model=os.environ["BENCH_MODEL"], base_url=os.environ["BENCH_MODEL_URL"])
    writer = Agent(role="Writer", goal="Write", backstory="You write.", llm=llm)
    tasks = [
        Task(name=f"step {at}", description=f"Step {at} about {{topic}}", expected_output="An answer.", agent=writer)
        for at in range(3)
    ]
    return Crew(agents=[writer], tasks=tasks)


def main(items: int) -> None:
    """Warm up, then do it."""
    crew = three_tasks()
    crew.kickoff({"topic": "warm"})
    began, cpu = time.perf_counter(), time.process_time()
    crew.kickoff_for_each([{"topic": str(at)} for at in range(items)])
    print("\n" + json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}))


main(int(sys.argv[1]))
