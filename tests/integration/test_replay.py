"""Replay on a real worker: from any task of any run, by today's crew, and only what must be done again is done again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from crewq import LLM, Crew, Run, Task, errors
from tests.integration.crews import Echo, agent, crew
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import ModelServer

TEXTS = ("Read about {x}.", "Think about {x}.", "Write about {x}.")
NAMES = ["a", "b", "c"]


def asked(server: ModelServer) -> list[str]:
    """The tasks whose models were called, in order, and forget them."""
    found = [call.prompt.removeprefix("Your task:\n").splitlines()[0] for call in server.ledger]
    server.ledger.clear()
    return found


@pytest.fixture
def llm(model_server: ModelServer) -> LLM:
    return LLM(model="openai/any", base_url=model_server.url)


def test_only_what_comes_after_is_asked_again(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    work = crew(*TEXTS, llm=llm)
    first = work.kickoff({"x": "ants"})
    parent = Run(first.run_id)
    assert asked(model_server) == ["Read about ants.", "Think about ants.", "Write about ants."]
    for at in range(3):
        again = work.replay(parent.task_ids[at])
        assert again.raw == first.raw
        assert again.run_id != first.run_id
        assert asked(model_server) == [text.format(x="ants") for text in TEXTS[at:]]
        assert again.token_usage.successful_requests == 3 - at, "what was kept is not counted again"
        record = Run(again.run_id).record()
        assert (record.parent, record.from_task) == (parent.id, parent.task_ids[at])
        assert [task.kept for task in record.tasks] == [place < at for place in range(3)]
        assert not set(Run(again.run_id).task_ids) & set(parent.task_ids)
    assert parent.status == "completed"
    assert parent.task_ids == Run(first.run_id).task_ids


def test_twice_with_the_same_id_and_from_a_replay(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    task_id = Run(work.kickoff({"x": 1}).run_id).task_ids[1]
    first, second = work.replay(task_id), work.replay(task_id[:14])
    assert first.run_id != second.run_id
    third = work.replay(Run(first.run_id).task_ids[2])
    assert third.raw == first.raw == second.raw
    assert Run(third.run_id).record().parent == first.run_id


def test_from_a_failed_task_and_from_one_that_never_began(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    poisoned = agent(Echo(poison="Think"), max_retry_limit=0)
    broken = crew(*TEXTS)
    broken.tasks[1].agent = poisoned
    run = broken.kickoff_async({"x": 1})
    with pytest.raises(errors.RunFailed, match="crewq replay -t"):
        run.result(10)
    assert [task.state for task in run.tasks] == ["completed", "failed", "cancelled"]
    for at in (1, 2):
        replayed = work.replay_async(run.task_ids[at])
        assert "Think about 1." in replayed.result(10).raw, "what failed before it is done as well"
        assert [task.kept for task in replayed.tasks] == [True, False, False]


def test_from_a_cancelled_run(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS, llm=Echo(latency=60))
    run = work.kickoff_async({"x": 1})
    run.cancel()
    assert "Write about 1." in crew(*TEXTS).replay(run.task_ids[0]).raw


def test_an_item_of_a_batch(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    batch = work.kickoff_for_each_async([{"x": n} for n in range(3)])
    batch.results(10)
    again = work.replay(batch.runs[2].task_ids[1], {"x": "two"})
    assert "Read about 2." in again.raw
    assert "Write about two." in again.raw
    assert batch.progress().total == 3, "the batch is not touched"


def test_a_tasks_own_id_means_the_latest_run(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    with pytest.raises(errors.UnknownId, match="this crew object"):
        work.replay(str(work.tasks[1].id))
    work.kickoff({"x": 1})
    latest = work.kickoff({"x": 2})
    assert Run(work.replay(work.tasks[1].id).run_id).record().parent == latest.run_id


REPLAYER = """
import sys
from tests.integration.crews import crew
print(crew("Read about {x}.", "Write about {x}, better.").replay(sys.argv[1]).raw)
"""


def test_from_another_process(fleet: WorkerProcess) -> None:
    first = crew("Read about {x}.", "Write about {x}.").kickoff({"x": "ants"})
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    command = [sys.executable, "-c", REPLAYER, Run(first.run_id).task_ids[1]]
    shown = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "Write about ants, better." in shown.stdout


# -- a crew that changed ---------------------------------------------------------------------------------------------


def test_the_prompt_is_mended_and_the_new_one_used(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    run = Run(crew(*TEXTS, llm=llm).kickoff({"x": "ants"}).run_id)
    asked(model_server)
    better = crew(TEXTS[0], "Think hard about {x}.", "Write about {x}.", llm=llm)
    better.replay(run.task_ids[1])
    assert asked(model_server) == ["Think hard about ants.", "Write about ants."]


def test_a_task_that_was_added_or_moved_does_not_take_anothers_output(fleet: WorkerProcess) -> None:
    run = Run(crew(*TEXTS).kickoff({"x": "ants"}).run_id)
    who = agent()
    named = dict(zip(NAMES, TEXTS, strict=True))
    tasks = [
        Task(name=name, description=named.get(name, "Check {x}."), expected_output="An answer.", agent=who)
        for name in ("b", "new", "a", "c")
    ]
    replayed = Crew(tasks=tasks).replay_async(run.task_ids[2])
    replayed.result(10)
    assert [(task.name, task.kept) for task in replayed.tasks] == [
        ("b", True),
        ("new", False),
        ("a", False),
        ("c", False),
    ], "what comes after a task that runs, runs"


def test_another_crew_is_refused_with_the_difference(fleet: WorkerProcess) -> None:
    run = Run(crew(*TEXTS).kickoff({"x": "ants"}).run_id)
    other = crew("Read of {x}.", *TEXTS[1:])
    with pytest.raises(
        errors.ReplayMismatch, match=r"not in the crew given, as they were: 'a'; new or changed ones: 'a'"
    ):
        other.replay(run.task_ids[1])
    with pytest.raises(errors.ReplayMismatch):
        crew("Something else").replay(run.task_ids[2])


def test_a_mended_prompt_that_asks_for_a_new_input_is_refused_before_anything_starts(fleet: WorkerProcess) -> None:
    run = Run(crew(*TEXTS).kickoff({"x": "ants"}).run_id)
    more = crew(*TEXTS[:2], "Write about {x} in {style}.")
    with pytest.raises(errors.MissingInputs, match="style"):
        more.replay(run.task_ids[2])
    assert "in rhymes" in more.replay(run.task_ids[2], {"x": "ants", "style": "rhymes"}).raw


# -- outputs that are edited -----------------------------------------------------------------------------------------


def test_an_edited_output_is_used_by_who_reads_it(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    run = Run(work.kickoff({"x": "ants"}).run_id)
    for name in ("a", run.task_ids[0], run.task_ids[0][:12]):
        replayed = work.replay_async(run.task_ids[2], outputs={name: "MY OWN NOTES"})
        output = replayed.result(10)
        assert output.tasks_output[0].raw == "MY OWN NOTES"
        assert "MY OWN NOTES" in output.tasks_output[1].raw
        assert "MY OWN NOTES" in output.raw
        record = replayed.record()
        assert [task.edited for task in record.tasks] == [True, False, False]
        assert record.edited == (run.task_ids[0],)


def test_a_task_with_an_edited_output_is_not_asked(fleet: WorkerProcess, model_server: ModelServer, llm: LLM) -> None:
    work = crew(*TEXTS, llm=llm)
    run = Run(work.kickoff({"x": "ants"}).run_id)
    asked(model_server)
    output = work.replay(run.task_ids[1], outputs={"b": "I thought myself."})
    assert asked(model_server) == ["Write about ants."]
    assert [done.raw for done in output.tasks_output][1] == "I thought myself."
    last = work.replay(run.task_ids[2], outputs={"c": "All by hand."})
    assert last.raw == "All by hand."
    assert asked(model_server) == []


def test_an_edit_of_a_task_that_is_not_there_is_refused(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    run = Run(work.kickoff({"x": "ants"}).run_id)
    with pytest.raises(errors.UnknownId, match="no task 'nobody'"):
        work.replay(run.task_ids[1], outputs={"nobody": "x"})


# -- ids -------------------------------------------------------------------------------------------------------------


def test_unknown_and_ambiguous_ids(fleet: WorkerProcess) -> None:
    work = crew(*TEXTS)
    run = Run(work.kickoff({"x": "ants"}).run_id)
    for wrong in ("00000000-0000-4000-8000-000000000000", "nonsense", "", run.id):
        with pytest.raises(errors.UnknownId, match="There is no task"):
            work.replay(wrong)
    batch = work.kickoff_for_each_async([{"x": n} for n in range(12)])
    batch.results(20)
    digits = Counter(task_id[0] for item in batch.runs for task_id in item.task_ids)  # 36 ids, 16 digits
    with pytest.raises(errors.AmbiguousId, match="more than one id"):
        work.replay(digits.most_common(1)[0][0])
