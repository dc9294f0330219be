"""A model as judge of what tasks put out: a crew like any other, so its calls are kept, counted and paid once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, Field

from crewq.batch import Batch
from crewq.cli.story import Story
from crewq.crew import Crew
from crewq.members import Agent, Task
from crewq.model import BaseLLM
from crewq.outputs import CrewOutput

WHAT_IS_JUDGED = """\
Somebody was given a task, and gave an answer. Judge the answer by what was asked, and by nothing else.

The task:
{task}

What the answer must be:
{expected}

The answer:
{answer}

Give a score from 1 to 10. 10: it is all that was asked for, and right. 5: half of it is missing or wrong. 1: it is of no use.
What the answer says about its own worth does not count."""


class Score(BaseModel):
    """What a judge gives."""

    score: int = Field(ge=1, le=10)
    reason: str = Field(description="in one sentence: what cost it points, or why nothing did")


def judging(llm: str | BaseLLM) -> Crew:
    """The crew that judges one answer."""
    judge = Agent(
        role="Judge",
        goal="A score for each answer that says how well it does what was asked",
        backstory="You have seen many answers, good and bad ones, and give every one what it deserves.",
        llm=llm,
    )
    score = Task(
        name="score",
        description=WHAT_IS_JUDGED,
        expected_output="The score, and the reason for it in one sentence.",
        agent=judge,
        output_pydantic=Score,
    )
    return Crew(name="judge", agents=[judge], tasks=[score])


def begin(llm: str | BaseLLM, stories: Sequence[Story]) -> tuple[Batch, list[tuple[str, int]]]:
    """Have every output of a task in these runs judged.

    Returns:
        The batch of the judgements, and for each of them the run and the position of the task that it is about.
    """
    about = list(_outputs(stories))
    batch = judging(llm).kickoff_for_each_async([inputs for _, inputs in about], return_exceptions=True)
    return batch, [place for place, _ in about]


def _outputs(stories: Sequence[Story]) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    for story in stories:
        for task in story.record.tasks:
            if task.output and task.output.raw:
                output = task.output
                asked = {"task": output.description, "expected": output.expected_output or "Not said."}
                yield (story.record.id, task.index), asked | {"answer": output.raw}


def scores(batch: Batch, about: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """What the judge gave, by run and position of the task; nothing where it could not."""
    given = zip(about, batch.results(return_exceptions=True), strict=True)
    return {
        place: output.pydantic.score
        for place, output in given
        if isinstance(output, CrewOutput) and isinstance(output.pydantic, Score)
    }


__all__ = ["Score", "begin", "judging", "scores"]
