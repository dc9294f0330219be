"""What a person sees, made of events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crewq.cli.story import Story
from crewq.cli.view import Line
from crewq.demo import StandIn, average_age_crew
from crewq.events import (
    CallFinished,
    CallStarted,
    Event,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunQueued,
    RunResumed,
    RunStarted,
    TaskStarted,
    Token,
)
from crewq.outputs import TaskOutput, UsageMetrics
from crewq.states import RunState, TaskState
from crewq.store import RunRecord, TaskRecord

RUN = "3f2a91bc-0000-4000-8000-000000000000"
MOMENT = datetime(2026, 11, 21, tzinfo=UTC)
USED = UsageMetrics(total_tokens=7, successful_requests=1)


@pytest.fixture
def story() -> Story:
    crew = average_age_crew(StandIn()).spec()
    output = TaskOutput(raw="It is 35.", agent="Data Analyst")
    tasks = (
        TaskRecord(0, "t-0", "analyse", "k0", TaskState.COMPLETED, output=output, kept=True),
        TaskRecord(1, "t-1", "report", "k1", TaskState.RUNNING, attempt=2, started=MOMENT, repeated=1),
    )
    record = RunRecord(
        id=RUN,
        state=RunState.RUNNING,
        crew="average-age",
        spec="s",
        inputs={"ages": [1, 2]},
        created=MOMENT,
        tasks=tasks,
        parent="p",
        from_task="t",
    )
    return Story(record, crew)


def _started(call: str, kind: str = "model") -> CallStarted:
    return CallStarted(task=0, kind=kind, name="x", attempt=1, call=call)


def _finished(call: str, kind: str = "model", reused: bool = False) -> CallFinished:
    usage = USED.model_dump_json()
    return CallFinished(task=0, kind=kind, name="x", attempt=1, call=call, reused=reused, usage=usage)


def test_a_line_follows_the_events_of_its_run(story: Story) -> None:
    line = Line(story)
    events: list[Event] = [
        RunQueued(id="1-0"),
        RunStarted(id="2-0"),
        TaskStarted(id="3-0", task=0, attempt=1, worker="w"),
        _started("a"),
        _finished("a"),
        _started("b", "tool"),
        _finished("b", "tool"),
        _started("c"),
    ]
    for event in events:
        line.take(event)
    assert (line.state, line.over, line.where, line.agent) == ("running", False, "1/2 analyse", "Data Analyst")
    assert line.ticks == "●◆○"
    assert (line.made("model"), line.made("tool"), line.usage.total_tokens) == (1, 1, 14)
    line.take(RunCompleted(id="9-0"))
    assert (line.state, line.over, line.after) == ("completed", True, "9-0")


def test_an_answer_from_the_journal_is_shown_and_not_counted(story: Story) -> None:
    line = Line(story)
    line.take(_finished("a", reused=True))
    assert (line.ticks, line.made("model")) == ("●", 0)


def test_only_the_latest_of_many_calls_are_shown(story: Story) -> None:
    line = Line(story)
    for number in range(100):
        line.take(_finished(str(number)))
    assert line.ticks == "…" + "●" * 16


def test_what_a_model_says_is_shown_as_it_comes(story: Story) -> None:
    line = Line(story)
    line.take(Token(task=0, agent="Writer", text="Once "))
    line.take(Token(task=0, agent="Writer", text="upon a time", offset=5))
    line.take(Token(task=0, agent="Writer", text="{}", tool="search"))
    assert line.said == "Writer: Once upon a time"
    line.take(Token(task=0, agent="Writer", text=" and on" * 100, offset=16))
    assert len(line.said) == 100
    line.take(Token(task=1, agent="Editor", text="Well."))
    assert line.said == "Editor: Well."


def test_a_paused_run_says_what_it_waits_for(story: Story) -> None:
    line = Line(story)
    line.take(RunPaused(id="1-0", reason="Say something."))
    assert (line.state, line.over, line.waits) == ("paused", False, "Say something.")
    line.take(RunResumed(id="2-0"))
    assert (line.state, line.waits) == ("running", "")


def test_a_failed_run_is_over(story: Story) -> None:
    line = Line(story)
    line.take(RunFailed(id="9-0", error="{}"))
    assert (line.state, line.over) == ("failed", True)
    line.take(RunResumed(id="10-0"))
    assert (line.state, line.over) == ("running", False)


def test_the_story_tells_what_was_kept_and_what_was_repeated(story: Story) -> None:
    told = "\n".join(story.lines())
    assert f"Run {RUN} of the crew 'average-age': running" in told
    assert "a replay of run p, from task t" in told
    assert "ages = [1, 2]" in told
    assert "analyse · Data Analyst · output kept from the parent run\n    It is 35." in told
    assert "2 attempts · 1 repeated call" in told
    facts = story.facts()
    assert [task["kept"] for task in facts["tasks"]] == [True, False]
    assert facts["output"] is None
