"""A person in the middle of a run: it is paused, no worker waits, and the answer comes from anywhere, at any time."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from crewq import LLM, Crew, CrewOutput, Run, Task, errors
from crewq.events import CallFinished
from crewq.server import Server
from crewq.store import Job
from crewq.testing import call
from tests.integration import crews
from tests.integration.conftest import StartWorker
from tests.integration.crews import Echo, agent, crew, scripted
from tests.integration.worker_process import ROOT, WorkerProcess, environment
from tests.model_server import ModelServer, hang
from tests.waiting import until


def reviewed(llm: Any, **fields: Any) -> Crew:
    """One task whose answer a person looks at, and one after it."""
    who = agent(llm)
    draft = Task(name="draft", description="Write.", agent=who, human_input=True, **fields)
    return Crew(agents=[who], tasks=[draft, Task(name="print", description="Print.", agent=agent())])


def paused(run: Run) -> Run:
    until(lambda: run.status == "paused", 30)
    return run


def drafts(run: Run) -> list[str]:
    return [question.draft.raw for question in run.questions() if question.draft]


def models_asked(run: Run) -> int:
    """How many answers of models were not taken from the journal."""
    return sum(isinstance(event, CallFinished) and event.kind == "model" and not event.reused for event in run.events())


def test_a_run_waits_for_a_person_and_holds_no_worker(fleet: WorkerProcess) -> None:
    run = paused(reviewed(scripted("long", "short")).kickoff_async())
    assert drafts(run) == ["long"]
    assert crew("Meanwhile").kickoff().raw, "the worker has time for others"
    with pytest.raises(errors.StillPaused, match=f"as it is paused. .*`crewq answer {run.id}`"):
        run.result(0.05)
    run.answer("Shorter, please.")
    until(lambda: drafts(run) == ["short"], 20)
    paused(run).answer("ok")
    assert "known from earlier tasks:\nshort\n" in run.result(20).raw
    kinds = Counter(event.type for event in run.events())
    assert (kinds["task_paused"], kinds["run_paused"], kinds["run_resumed"], kinds["task_requeued"]) == (2, 2, 2, 2)
    assert models_asked(run) == 3
    assert run.tasks[0].repeated == 0


def test_the_feedback_is_told_to_the_model_in_the_same_conversation(
    fleet: WorkerProcess, model_server: ModelServer
) -> None:
    model_server.enqueue("one", "two", "three", "printed")
    work = reviewed(LLM(model="openai/any", base_url=model_server.url))
    work.tasks[1].agent = work.agents[0]
    run = work.kickoff_async()
    for feedback in ("Not one.", "Not two either.", ""):
        paused(run).answer(feedback)
    assert run.result(20).raw == "printed"
    assert len(model_server.ledger) == 4, "nothing is asked again"
    said = [message["content"] for message in model_server.ledger[2].request["messages"][2:]]
    assert said[0::2] == ["one", "two"]
    assert "Not one." in said[1]
    assert "Not two either." in said[3]


def test_whoever_waits_is_told_once_for_each_question(fleet: WorkerProcess, caplog: pytest.LogCaptureFixture) -> None:
    run = reviewed(scripted("long", "short")).kickoff_async()

    def answer_each() -> None:
        for at, said in enumerate(("Shorter.", "ok"), start=1):
            until(lambda at=at: caplog.text.count(f"the run {run.id} is paused. ") == at, 20)  # type: ignore[misc]
            run.answer(said)

    async def waited_for() -> list[CrewOutput]:
        *outputs, _ = await asyncio.gather(
            *(asyncio.create_task(run) for _ in range(3)), asyncio.to_thread(answer_each)
        )
        return outputs

    assert len(asyncio.run(waited_for())) == 3
    assert caplog.text.count(" is paused. ") == 2
    assert f"`crewq answer {run.id}`" in caplog.text


def test_whoever_waits_for_a_batch_is_told_of_each_run(fleet: WorkerProcess, caplog: pytest.LogCaptureFixture) -> None:
    batch = reviewed(scripted("draft")).kickoff_for_each_async([{}, {}])
    waiting = threading.Thread(target=batch.results)
    waiting.start()
    for run in batch.runs:
        until(lambda run=run: f"the run {run.id} is paused. " in caplog.text, 20)  # type: ignore[misc]
        run.answer()
    waiting.join(20)
    assert not waiting.is_alive()
    late = reviewed(scripted("draft")).kickoff_for_each_async([{}])
    paused(late.runs[0])
    with pytest.raises(errors.ResultTimeout):
        late.results(0.05)
    assert f"the run {late.runs[0].id} is paused. " in caplog.text, "also to who comes when it is paused already"
    late.cancel()


def test_an_answer_may_be_what_it_was_before(fleet: WorkerProcess) -> None:
    run = reviewed(scripted("same", "same")).kickoff_async()
    paused(run).answer("Think again.")
    paused(run).answer()
    assert "\nsame\n" in run.result(20).raw


def test_guardrails_come_first_and_tools_and_callbacks_are_not_called_again(
    fleet: WorkerProcess,
) -> None:
    notes = fleet.output_dir.parent / "notes"
    notes.unlink(missing_ok=True)
    llm = scripted(call("add", left=1, right=2), "far too long", "three", "3")
    run = reviewed(llm, tools=[crews.add], guardrail=crews.is_short, callback=crews.on_task).kickoff_async()
    assert drafts(paused(run)) == ["three"]
    run.answer("As a digit.")
    paused(run).answer("OK")
    run.result(20)
    assert notes.read_text().splitlines() == [
        "add 1 2",
        "is_short far too long",
        "is_short three",
        "is_short 3",
        "on_task 3",
    ]


def test_steps_are_told_once(fleet: WorkerProcess) -> None:
    notes = fleet.output_dir.parent / "notes"
    notes.unlink(missing_ok=True)
    work = reviewed(scripted(call("add", left=1, right=2), "three", "3"), tools=[crews.add])
    work.agents[0].step_callback = crews.on_step
    run = work.kickoff_async()
    paused(run).answer("As a digit.")
    paused(run).answer()
    run.result(20)
    assert Counter(notes.read_text().splitlines()) == {"add 1 2": 1, "on_step tool": 1, "on_step answer": 2}


# -- several questions, and none -------------------------------------------------------------------------------------


def side_by_side() -> Crew:
    who = agent(scripted("left"))
    tasks = [
        Task(name=name, description="Write.", agent=who, human_input=True, async_execution=True) for name in ("a", "b")
    ]
    return Crew(agents=[who], tasks=[*tasks, Task(name="c", description="Join.", agent=agent(Echo()))])


def test_of_several_that_ask_one_is_named(fleet: WorkerProcess) -> None:
    run = side_by_side().kickoff_async()
    assert [question.name for question in paused(run).questions()] == ["a", "b"]
    with pytest.raises(errors.NotNow, match=r"asking about several tasks.*'a' .*'b' "):
        run.answer("ok")
    with pytest.raises(errors.NotNow, match="It has no task 'z' that asks"):
        run.answer("ok", "z")
    run.answer("ok", "b")
    until(lambda: run.tasks[1].state.value == "completed", 20)
    assert paused(run).questions()[0].name == "a"
    run.answer("", run.task_ids[0][:12])
    assert run.result(20).raw


def test_an_answer_that_nobody_asked_for_is_refused(fleet: WorkerProcess) -> None:
    run = crew("Say a").kickoff_async()
    run.result(20)
    with pytest.raises(errors.NotNow, match=r"is completed, so it cannot be answered\. It has no task that asks"):
        run.answer("ok")


def test_a_question_is_answered_once(fleet: WorkerProcess) -> None:
    run = paused(reviewed(scripted("draft")).kickoff_async())
    question = run.question()
    run.answer("ok")
    with pytest.raises(errors.NotNow, match="Somebody else was faster"):
        run._producer.store.runs.answer(Job(run.id, 0), question.question or "", "no")
    run.result(20)


def test_a_resume_is_no_answer_and_a_cancelled_question_is_asked_again(fleet: WorkerProcess) -> None:
    run = paused(reviewed(scripted("draft")).kickoff_async())
    with pytest.raises(errors.NotNow, match=f"waiting for a person, so it cannot be resumed.*crewq answer {run.id}"):
        run.resume(call_in_doubt="skip")
    assert run.cancel() is True
    assert run.questions() == ()
    with pytest.raises(errors.NotNow, match="is cancelled"):
        run.answer("ok")
    assert drafts(paused(run.resume())) == ["draft"]
    run.answer("ok")
    run.result(20)
    assert models_asked(run) == 2


def test_the_time_of_a_person_is_not_that_of_the_run(fleet: WorkerProcess) -> None:
    run = paused(reviewed(scripted("draft")).kickoff_async(timeout=3))
    with pytest.raises(errors.StillPaused):
        run.result(3)
    run.answer("ok")
    assert run.result(20).raw


# -- workers that die, other processes -------------------------------------------------------------------------------


def test_a_worker_killed_while_a_run_is_paused(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer
) -> None:
    first = start_worker(own_redis.url).ready()
    model_server.enqueue("draft")
    run = paused(reviewed(LLM(model="openai/any", base_url=model_server.url)).kickoff_async())
    first.kill()
    start_worker(own_redis.url).ready()
    assert drafts(run) == ["draft"]
    run.answer("ok")
    assert "\ndraft\n" in run.result(30).raw
    assert len(model_server.ledger) == 1
    assert run.tasks[0].attempt == 2


def test_a_worker_killed_after_the_feedback(
    own_redis: Server, start_worker: StartWorker, model_server: ModelServer
) -> None:
    first = start_worker(own_redis.url).ready()
    model_server.enqueue("long", hang(), "short")
    run = paused(reviewed(LLM(model="openai/any", base_url=model_server.url)).kickoff_async())
    run.answer("Shorter.")
    model_server.ledger.wait_for(lambda calls: len(calls) == 2)
    first.kill()
    start_worker(own_redis.url).ready()
    assert drafts(paused(run)) == ["short"]
    assert len(model_server.ledger) == 3, "only the call in flight was made again"
    assert "Shorter." in model_server.ledger[2].request["messages"][-1]["content"]
    run.answer("ok")
    assert run.result(30).raw


ANSWER = "import sys; from crewq import Run; Run(sys.argv[1]).answer(sys.argv[2])"


def shell(*command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    return subprocess.run([sys.executable, *command], env=env, cwd=ROOT, capture_output=True, text=True, input=typed)


def test_answers_from_other_processes(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("one", "two", "three")
    run = paused(reviewed(LLM(model="openai/any", base_url=model_server.url)).kickoff_async())
    assert shell("-c", ANSWER, run.id, "Not one.").returncode == 0
    until(lambda: drafts(run) == ["two"], 20)
    asked = shell("-m", "crewq", "answer", run.id[:13], typed="Not two.\n")
    assert asked.returncode == 0, asked.stderr
    assert "The task 'draft' has this answer by Tester:\n\ntwo\n" in asked.stderr
    assert f"The run {run.id} goes on." in asked.stdout
    until(lambda: drafts(run) == ["three"], 20)
    assert shell("-m", "crewq", "answer", run.task_ids[0], "ok").returncode == 0
    assert "\nthree\n" in run.result(20).raw
    late = shell("-m", "crewq", "answer", run.id, "ok")
    assert (late.returncode, late.stdout) == (2, "")
    assert len(model_server.ledger) == 3
    assert "It has no task that asks a person anything." in late.stderr


# -- at a terminal ---------------------------------------------------------------------------------------------------

KICKOFF = """
import sys
from crewq import LLM
from tests.integration.test_human_input import reviewed
print("The output:", reviewed(LLM(model="openai/any", base_url=sys.argv[1])).kickoff().raw.split()[0])
"""


@contextmanager
def at_a_terminal(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A Python process that reads from and writes to a terminal of its own, and our end of it."""
    ours, its = pty.openpty()
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"], TERM="xterm", COLUMNS="100")
    process = subprocess.Popen([sys.executable, *command], env=env, cwd=ROOT, stdin=its, stdout=its, stderr=its)
    os.close(its)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)


def read_until(terminal: int, words: str) -> str:
    said = ""
    while words not in said:
        said += os.read(terminal, 1000).decode()
    return said


def test_a_kickoff_at_a_terminal_asks_the_person_there(fleet: WorkerProcess, model_server: ModelServer) -> None:
    model_server.enqueue("one", "two")
    with at_a_terminal("-c", KICKOFF, model_server.url) as (process, terminal):
        assert "one" in read_until(terminal, "say what to change:")
        os.write(terminal, b"Not one.\n")
        assert "two" in read_until(terminal, "say what to change:")
        os.write(terminal, b"\n")
        assert "The output: <Your" in read_until(terminal, "The output: <Your")
        assert process.wait(10) == 0


COMMAND = ("-m", "crewq", "run", "tests.integration.test_human_input:asking")


def asking() -> Crew:
    """For the command line."""
    return reviewed(scripted("one", "two"))


@pytest.mark.parametrize("more", [(), ("--no-progress",), ("--json",)], ids=str)
def test_a_command_at_a_terminal_asks_the_person_there(fleet: WorkerProcess, more: tuple[str, ...]) -> None:
    with at_a_terminal(*COMMAND, *more) as (process, terminal):
        assert "The task 'draft' has this answer by Tester:\r\n\r\none\r\n" in read_until(terminal, "what to change:")
        os.write(terminal, b"Not one.\n")
        assert "two" in read_until(terminal, "say what to change:")
        os.write(terminal, b"ok\n")
        read_until(terminal, "known from earlier tasks:")
        assert process.wait(10) == 0


def test_at_the_end_of_what_is_typed_others_may_answer(fleet: WorkerProcess) -> None:
    with at_a_terminal(*COMMAND) as (process, terminal):
        read_until(terminal, "say what to change:")
        os.write(terminal, b"\x04")  # Ctrl-D
        told = read_until(terminal, "waits for an answer") + read_until(terminal, "tokens")
        found = re.search(r"crewq answer ([0-9a-f-]{36})", told)
        assert found
        Run(found[1]).answer("ok")
        read_until(terminal, "known from earlier tasks:")
        assert process.wait(10) == 0


@pytest.mark.parametrize("more", [(), ("--no-progress",)], ids=str)
def test_without_a_terminal_a_command_says_how_to_answer(fleet: WorkerProcess, more: tuple[str, ...]) -> None:
    command = [sys.executable, *COMMAND, *more]
    env = environment(CREWQ_REDIS_URL=os.environ["CREWQ_REDIS_URL"])
    with subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        told = next(line for line in process.stderr if "crewq answer" in line)
        found = re.search(r"`crewq answer ([0-9a-f-]{36})`", told)
        assert found, told
        Run(found[1]).answer("ok")
        out, _ = process.communicate(timeout=20)
    assert "known from earlier tasks:\none\n" in out


def test_the_worker_says_how_to_answer_and_nothing_of_the_answer(fleet: WorkerProcess) -> None:
    run = paused(reviewed(scripted("SECRET-DRAFT")).kickoff_async())
    until(lambda: f"`crewq answer {run.id}`" in fleet.log, 10)
    assert "SECRET-DRAFT" not in fleet.log
    run.cancel()
