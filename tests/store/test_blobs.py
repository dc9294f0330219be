"""Long texts: kept once, compressed, for as long as a run has them; and read by everything as if they lay there."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable

import pytest

from crewq import errors
from crewq.outputs import TaskOutput
from crewq.settings import DAY
from crewq.store import Call, Job
from crewq.store.keys import Keys
from crewq.store.vault import LONG
from tests.store.world import ONE, ROW, World, output

KEYS = Keys("t")


def long_text(seed: int = 0, size: int = 3 * LONG) -> str:
    """One that can hardly be compressed."""
    return "".join(random.Random(seed).choices(string.ascii_letters + "üß🦀", k=size))


def blobs(world: World) -> list[str]:
    return [key for key in world.all_keys() if key.startswith("{t}:blob:")]


def runs_of(world: World, blob: str) -> int:
    return int(world.client.hget(blob, "runs") or 0)


def claimed(world: World, run: str, index: int = 0) -> Call:
    claim = world.claim(run, index)
    assert claim.word == "yours"
    return world.call(run, index, claim.attempt)


def end(world: World, run: str, text: str) -> None:
    """Carry out its first task."""
    call = claimed(world, run)
    assert world.runs.complete(call.job, call.attempt, output(text), [text]).word == "recorded"


# -- they are read as what they are ---------------------------------------------------------------------------------


def test_inputs_outputs_and_conversations_are_read_whole(world: World) -> None:
    given, said = long_text(1), long_text(2)
    run = world.accept(ROW, inputs={"text": given})
    claim = world.claim(run)
    assert claim.inputs == {"text": given}
    world.runs.complete(Job(run, 0), claim.attempt, output(said), [{"role": "user", "content": given}])
    assert world.read(run).inputs == {"text": given}
    task = world.task(run)
    assert task.output == output(said)
    assert json.loads(task.messages) == [{"role": "user", "content": given}]
    assert world.claim(run, 1).context == {0: output(said)}
    assert [record.inputs for record in world.runs.overview([run, "none"])] == [{"text": given}]


def test_answers_are_read_whole_from_the_journal(world: World) -> None:
    answer, shared = long_text(1), long_text(2)
    run = world.accept(ONE)
    call = claimed(world, run)
    journal = world.store.journal
    assert journal.finish(call, answer, seconds=1.0) == answer
    assert journal.finish(call, "another", seconds=1.0) == answer
    assert journal.begin(call, repeatable=True).answer == answer
    assert journal.find(call) == answer
    journal.share(call.job, "what they share", shared)
    other = world.call(run, digest="other")
    assert journal.begin(other, repeatable=True, shared="what they share").answer == shared
    assert journal.find(other) == shared


def test_errors_and_tracebacks_are_read_whole(world: World) -> None:
    reason, traceback = long_text(1), long_text(2)
    run = world.accept(ONE)
    call = claimed(world, run)
    world.runs.fail(call.job, call.attempt, errors.JobBroken(reason=reason), traceback)
    record = world.read(run)
    assert reason in str(record.error)
    assert str(record.error) == str(record.tasks[0].error)
    assert record.tasks[0].traceback == traceback
    told = [event for event in world.runs.events(run, "0-0") if event.type in ("task_failed", "run_failed")]
    assert [event.error["facts"]["reason"] for event in told] == [reason, reason]  # type: ignore[attr-defined]


def test_an_error_too_long_to_lie_in_its_task_is_known_when_the_run_is_resumed(world: World) -> None:
    """An answer that could not be used is asked for again."""
    run = world.accept(ONE)
    call = claimed(world, run)
    world.store.journal.finish(call, "useless", seconds=1.0)
    world.runs.fail(call.job, call.attempt, errors.AnswerUnusable(model="m", tries=3, reason=long_text()))
    world.runs.resume(run)
    assert world.store.journal.find(call) is None


def test_what_a_person_is_asked_and_says_is_read_whole(world: World) -> None:
    draft, said = long_text(1), long_text(2)
    run = world.accept(ONE)
    call = claimed(world, run)
    question = Call(call.job, call.attempt, "person", "person", "q", 0)
    world.runs.pause(call.job, call.attempt, "why", question.id, output(draft))
    assert world.task(run).draft == output(draft)
    world.runs.answer(call.job, question.id, said)
    assert world.store.journal.find(question) == said


def test_an_export_has_all_of_it(world: World) -> None:
    given, answer, said = long_text(1), long_text(2), long_text(3)
    run = world.accept(ONE, inputs={"text": given})
    call = claimed(world, run)
    world.store.journal.finish(call, answer, seconds=1.0)
    world.store.journal.begin(world.call(run, digest="under way"), repeatable=True)
    world.runs.complete(call.job, call.attempt, output(said))
    exported = world.store.export(run)
    assert exported["run"]["inputs"] == {"text": given}
    assert exported["tasks"][0]["output"]["raw"] == said
    assert [entry.get("answer") for entry in exported["journal"]] == [answer, None]


@pytest.mark.parametrize(
    "text", ["\x1a", "\x1a=", "\x1ablob:0", "\x1ablob:" + "0" * 64 + ":9", "\x15\x1a", "\ud800", ""]
)
def test_a_text_that_looks_like_a_reference_is_a_text(world: World, text: str) -> None:
    vault = world.store.runs._verbs.vault
    assert vault.open("here", vault.parcel().seal("here", text)) == text


@pytest.mark.parametrize(("size", "kept"), [(LONG, 0), (LONG + 1, 1)])
def test_only_what_is_longer_than_the_limit_has_a_blob(world: World, size: int, kept: int) -> None:
    run = world.accept(ONE)
    call = claimed(world, run)
    world.store.journal.finish(call, "ü" * (size // 2) + "x" * (size % 2), seconds=1.0)
    assert len(blobs(world)) == kept


def test_texts_with_lone_surrogates_are_kept_too(world: World) -> None:
    """Redis takes no such text; a blob holds bytes."""
    text = "\ud800" * LONG
    parcel = world.store.runs._verbs.vault.parcel()
    sealed = parcel.seal("here", text)
    assert parcel.blobs
    assert sealed.isascii()


# -- they are kept once ---------------------------------------------------------------------------------------------


def test_equal_texts_of_any_runs_are_kept_once(world: World) -> None:
    text = long_text(size=4 * LONG)
    before = int(world.client.info("memory")["used_memory"]) if _is_real(world) else 0
    runs = [world.accept(ROW, inputs={"text": text}) for _ in range(5)]
    for run in runs:
        call = claimed(world, run)
        for ordinal in range(5):
            world.store.journal.finish(world.call(run, attempt=call.attempt, ordinal=ordinal), text, seconds=1.0)
        world.runs.complete(call.job, call.attempt, TaskOutput(raw="short"), [text])
    assert [runs_of(world, blob) for blob in blobs(world)] == [5]
    if _is_real(world):
        assert int(world.client.info("memory")["used_memory"]) - before < 5 * len(text)


def test_an_answer_is_kept_once_as_that_as_output_and_in_the_conversation(world: World) -> None:
    asked, said = long_text(1), long_text(2)
    run = world.accept(ONE, inputs={"topic": "ants", "document": asked})
    call = claimed(world, run)
    answer = json.dumps({"text": said, "usage": {"total_tokens": 7}}, ensure_ascii=False)
    world.store.journal.finish(call, answer, seconds=1.0)
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    world.runs.complete(call.job, call.attempt, output(said), messages)
    other = world.accept(ONE, inputs={"topic": "bees", "document": asked})
    assert sorted(runs_of(world, blob) for blob in blobs(world)) == [1, 2]
    assert world.store.journal.find(call) == answer
    assert world.task(run).output == output(said)
    assert json.loads(world.task(run).messages) == messages
    assert [world.read(one).inputs["topic"] for one in (run, other)] == ["ants", "bees"]


LONG_STRING = "x" * (LONG + 1)
AROUND = {
    "ASCII": json.dumps({"a": LONG_STRING + "ü", "b": [LONG_STRING]}),
    "as pydantic has it": TaskOutput(raw=LONG_STRING + '"\\\b\f\n\r\t\x00\x1f\x7f/ü\u2028').model_dump_json(),
    "with spaces": json.dumps({"a": LONG_STRING, "b": 1}, indent=3),
    "escaped otherwise": f'{{"a": "{LONG_STRING}\\u0041\\/"}}',
    "a string alone": json.dumps(LONG_STRING),
    "no JSON": f'"" "{LONG_STRING}" "\\" "{LONG_STRING}',
    "an odd quote": f'it"s {{"a": "{LONG_STRING}"}}',
    "a line in a string": f'{{"a": "{LONG_STRING}\n"}}',
    "many short ones": json.dumps([str(at) for at in range(10_000)]),
    "a long one among many short ones": json.dumps([*map(str, range(10_000)), LONG_STRING]),
    "surrogates": json.dumps([LONG_STRING, "\ud800" + LONG_STRING]),
    "the mark": json.dumps(["\x1a" + LONG_STRING, f"\x1arow:;{LONG_STRING}"], ensure_ascii=False),
    "after the mark": f'\x1arow:;"{LONG_STRING}"',
}


@pytest.mark.parametrize("what", AROUND)
def test_what_is_put_together_again_is_the_same_to_the_letter(world: World, what: str) -> None:
    """A tool's answer goes to the model, and by that the next call is known."""
    run = world.accept(ONE)
    call = claimed(world, run)
    world.store.journal.finish(call, AROUND[what], seconds=1.0)
    assert world.store.journal.find(call) == AROUND[what]
    (first, *_) = blobs(world)
    world.client.delete(first)
    with pytest.raises(errors.RecordBroken, match="is gone"):
        world.store.journal.find(call)


def _is_real(world: World) -> bool:
    return not type(world.client).__name__.startswith("Fake")


def test_a_replay_shares_what_it_takes_over(world: World) -> None:
    text = long_text()
    parent = world.accept(ROW)
    end(world, parent, text)
    assert [runs_of(world, blob) for blob in blobs(world)] == [1]
    child = world.accept(ROW, kept={0: 0}, parent=parent)
    assert world.task(child).output == output(text)
    assert [runs_of(world, blob) for blob in blobs(world)] == [2]
    world.runs.cancel(parent)
    world.runs.delete(parent)
    assert world.task(child).output == output(text)
    assert [runs_of(world, blob) for blob in blobs(world)] == [1]


# -- they go with their runs ----------------------------------------------------------------------------------------


def deleted(world: World, run: str) -> None:
    world.runs.delete(run)


def expired(world: World, run: str) -> None:
    world.clock.forward(6 * DAY)
    world.sweep()


@pytest.mark.parametrize("forget", [deleted, expired])
def test_a_blob_goes_with_the_last_run_that_has_it(world: World, forget: Callable[[World, str], None]) -> None:
    text = long_text()
    first, second = world.accept(ONE), world.accept(ONE)
    end(world, first, text)
    world.clock.forward(DAY)
    end(world, second, text)
    assert [runs_of(world, blob) for blob in blobs(world)] == [2]
    forget(world, first)
    assert [runs_of(world, blob) for blob in blobs(world)] == [1]
    assert world.task(second).output == output(text)
    forget(world, second)
    assert [key for key in world.all_keys() if "blob" in key] == []


def test_a_batch_that_is_given_up_takes_its_long_inputs_with_it(world: World) -> None:
    batch = world.store.batches.create(world.new_id(), "demo")
    runs = [world.new_run(ONE, inputs={"text": long_text(at)}) for at in range(3)]
    world.runs.create(world.order(ONE, batch=batch, held=True), runs)
    assert len(blobs(world)) == 3
    world.store.batches.abandon(batch)
    assert [key for key in world.all_keys() if "blob" in key] == []


def test_should_no_sweeper_run_a_blob_outlives_its_runs_by_nothing(world: World) -> None:
    text = long_text()
    failed, done = world.accept(ONE, inputs={"text": text}), world.accept(ONE, inputs={"text": text})
    (blob,) = blobs(world)

    def lives(key: str) -> float:
        return float(world.client.ttl(key))

    assert lives(blob) == pytest.approx(lives(KEYS.run(done)), abs=2)
    call = claimed(world, failed)
    world.runs.fail(call.job, call.attempt, errors.JobBroken(reason="boom"))
    assert lives(blob) == pytest.approx(lives(KEYS.run(done)), abs=2), "the other goes on"
    end(world, done, "short")
    assert lives(blob) >= lives(KEYS.run(failed)) > lives(KEYS.run(done))
    world.runs.delete(failed)
    only = world.accept(ONE, inputs={"text": long_text(2)})
    end(world, only, "short")
    (own,) = set(blobs(world)) - {blob}
    assert lives(own) == pytest.approx(lives(KEYS.run(only)), abs=2), "where there is only one run, exactly"
    assert lives(f"{KEYS.run(only)}:blobs") == pytest.approx(lives(KEYS.run(only)), abs=2)


def test_the_same_text_many_times_in_a_run_counts_once(world: World) -> None:
    text = long_text()
    run = world.accept(ONE)
    call = claimed(world, run)
    for ordinal in range(3):
        world.store.journal.finish(world.call(run, attempt=call.attempt, ordinal=ordinal), text, seconds=1.0)
    (blob,) = blobs(world)
    assert runs_of(world, blob) == 1


def test_an_answer_that_comes_too_late_leaves_nothing(world: World) -> None:
    """Its run was deleted meanwhile, or another answer stands."""
    run, gone = world.accept(ONE), world.accept(ONE)
    world.store.journal.finish(world.call(run), "first", seconds=1.0)
    world.store.journal.finish(world.call(run), long_text(1), seconds=1.0)
    world.runs.cancel(gone)
    world.runs.delete(gone)
    world.store.journal.finish(world.call(gone), long_text(2), seconds=1.0)
    assert [key for key in world.all_keys() if "blob" in key or gone in key] == []


# -- what is broken -------------------------------------------------------------------------------------------------


def test_a_blob_that_is_gone_is_an_error_that_says_so(world: World) -> None:
    run = world.accept(ONE, inputs={"text": long_text()})
    claim = world.claim(run)
    for blob in blobs(world):
        world.client.delete(blob)
    with pytest.raises(errors.RecordBroken, match=f"run:{run} inputs cannot be read.*is gone"):
        world.read(run)
    with pytest.raises(errors.RecordBroken, match="is gone"):
        _ = claim.inputs


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff\xfe", None])
def test_a_blob_that_is_damaged_is_an_error_that_says_so(world: World, content: bytes | None) -> None:
    run = world.accept(ONE, inputs={"text": long_text()})
    world.accept(ONE, inputs={"text": long_text(1)})
    blob, other = sorted(blobs(world), key=lambda key: runs_of(world, key))
    mine = next(
        key for key in (blob, other) if key.rpartition(":")[2] in str(world.client.hget(KEYS.run(run), "inputs"))
    )
    theirs = other if mine == blob else blob
    raw = world.client.execute_command("HGET", theirs, "text", NEVER_DECODE=True)
    world.client.hset(mine, "text", raw if content is None else content)
    with pytest.raises(errors.RecordBroken, match="is damaged"):
        world.read(run)


def test_what_begins_like_a_reference_and_is_none_is_an_error(world: World) -> None:
    run = world.accept(ONE)
    world.client.hset(KEYS.run(run), "inputs", "\x1ablob:nothing")
    with pytest.raises(errors.RecordBroken, match="is none"):
        world.read(run)


@pytest.mark.parametrize(
    "rest",
    [
        *("", "[]", "{}", "7", "[[], 7]", "[[7], []]", "[7, []]", "[" * 100_000, "\x1arow:;" * 100_000),
        *(f'[["a"], [["{digest}", {size}]]]' for digest, size in (("b", 1), ("0" * 64, -5), ("0" * 64, 10**30))),
    ],
)
def test_what_is_not_put_together_of_texts_is_an_error(world: World, rest: str) -> None:
    run = world.accept(ONE)
    world.client.hset(KEYS.run(run), "inputs", f"\x1arow:;{rest}")
    with pytest.raises(errors.RecordBroken):
        world.read(run)


def test_what_is_done_again_puts_its_blobs_back(world: World) -> None:
    """As after a Redis that has lost its last second."""
    text = long_text()
    run = world.accept(ONE)
    call = claimed(world, run)
    world.store.journal.finish(call, text, seconds=1.0)
    done = [one for one in world.runs._verbs.redo._recent if one.name == "finish_call"][-1]
    world.client.hdel(KEYS.journal(run), f"0:{call.id}")
    for key in (*blobs(world), f"{KEYS.run(run)}:blobs"):
        world.client.delete(key)
    world.client.hdel(KEYS.run(run), "blobs")
    world.runs._verbs._run(done.name, done.arguments)
    assert world.store.journal.find(call) == text
    assert [runs_of(world, blob) for blob in blobs(world)] == [1]
