"""With keys, whoever can write to Redis can neither read nor forge, nor move anything to where it does not belong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from crewq import errors
from crewq.events import Token
from crewq.store import Job
from crewq.timing import Timing
from tests.store.keyed import KEYS, LONG_SECRET, NEW, OLD, SECRET, claimed, everything, lived, with_keys
from tests.store.world import ONE, PAIR, ROW, World, crew, output


@pytest.fixture
def world(world: World) -> World:
    """The world, with a key."""
    return with_keys(world, OLD)


# -- nobody reads it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [SECRET, LONG_SECRET], ids=["short", "long"])
def test_nothing_of_a_run_is_readable_in_redis(world: World, text: str) -> None:
    run = lived(world, text)
    world.store.schedules.put("news", ONE.model_copy(update={"name": "n"}), {"x": text}, Timing(every=60).to_json())
    held = everything(world)
    assert SECRET not in held
    assert run in held, "it is really looked at"
    record = world.read(run)
    assert record.inputs == {"x": text}
    assert record.tasks[0].output == output(text)
    assert text in str(record.error)
    assert text in record.tasks[1].traceback
    assert world.store.schedules.read("news").inputs == {"x": text}
    told = world.runs.events(run, "0-0")
    assert [(event.text, event.agent) for event in told if isinstance(event, Token)] == [
        (f"says {text}", f"role {text}")
    ]
    exported = json.dumps(world.store.export(run), ensure_ascii=False)
    assert exported.count(SECRET) > 8


def test_nothing_can_be_guessed_by_its_digest(world: World) -> None:
    lived(world, LONG_SECRET)
    held = everything(world)
    spec = next(iter(world.client.scan_iter("{t}:spec:*"))).rpartition(":")[2]
    guesses = [LONG_SECRET, json.dumps({"x": LONG_SECRET}), output(LONG_SECRET).model_dump_json(exclude_defaults=True)]
    assert [guess for guess in guesses if hashlib.sha256(guess.encode()).hexdigest()[:16] in held] == []
    assert world.runs.spec(spec).digest()[:16] not in held


def test_equal_long_texts_are_still_kept_once(world: World) -> None:
    runs = [world.accept(ONE, inputs={"x": LONG_SECRET}) for _ in range(3)]
    (blob,) = world.client.scan_iter("{t}:blob:*")
    assert world.client.hget(blob, "runs") == "3"
    assert [world.read(run).inputs for run in runs] == [{"x": LONG_SECRET}] * 3


def test_who_has_no_key_is_told_which_and_where_to_put_it(world: World) -> None:
    run = lived(world)
    stranger = with_keys(world)
    for read in (
        stranger.read,
        stranger.runs.spec,
        stranger.store.export,
        lambda run: stranger.runs.events(run, "0-0"),
    ):
        name = world.read(run).spec if read == stranger.runs.spec else run
        with pytest.raises(errors.EncryptionKeyUnknown, match=r"'old'.*\n?.*CREWQ_ENCRYPTION_KEYS"):
            read(name)


# -- nobody forges it ------------------------------------------------------------------------------------------------


def flipped(sealed: str) -> str:
    """The same, but for one letter in its middle."""
    at = len(sealed) - 20
    return sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]


FORGERIES: dict[str, Callable[[str], str]] = {
    "a letter is changed": flipped,
    "plain text": lambda sealed: '{"raw": "forged"}',
    "nothing": lambda sealed: "",
    "another key's name": lambda sealed: sealed.replace(":old:", ":new:"),
    "cut off": lambda sealed: sealed[: sealed.index(":old:") + 9],
    "no base64": lambda sealed: sealed[:-1] + "*",
}


@pytest.mark.parametrize("text", [SECRET, LONG_SECRET], ids=["short", "long"])
@pytest.mark.parametrize("how", FORGERIES)
@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("", "inputs"),
        ("", "error"),
        ("", "stamp"),
        (":task:0", "output"),
        (":task:0", "messages"),
        (":task:1", "traceback"),
    ],
)
def test_what_was_changed_is_refused(world: World, text: str, how: str, part: str, field: str) -> None:
    run = lived(world, text)
    key = KEYS.run(run) + part
    world.client.hset(key, field, FORGERIES[how](str(world.client.hget(key, field))))
    with pytest.raises((errors.NotAuthentic, errors.EncryptionKeyUnknown)):
        world.read(run)


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_answer_is_not_taken_for_the_models(world: World, how: str) -> None:
    run = world.accept(ONE)
    call = claimed(world, run)
    world.store.journal.finish(call, SECRET, seconds=1.0)
    field = f"0:{call.id}"
    kept = str(world.client.hget(KEYS.journal(run), field)).removeprefix("finished ")
    world.client.hset(KEYS.journal(run), field, "finished " + FORGERIES[how](kept))
    with pytest.raises((errors.NotAuthentic, errors.EncryptionKeyUnknown)):
        world.store.journal.begin(call, repeatable=True)


@pytest.mark.parametrize("text", [SECRET, LONG_SECRET], ids=["short", "long"])
def test_an_answer_cannot_be_moved_to_another_call_task_or_run(world: World, text: str) -> None:
    run, other = world.accept(PAIR), world.accept(PAIR)
    call = claimed(world, run)
    journal = world.store.journal
    journal.finish(call, text, seconds=1.0)
    kept = str(world.client.hget(KEYS.journal(run), f"0:{call.id}"))
    for victim in (
        replace(call, ordinal=1),
        replace(call, digest="e"),
        replace(call, kind="tool"),
        replace(call, job=Job(run, 1)),
        replace(call, job=Job(other, 0)),
    ):
        world.client.hset(KEYS.journal(victim.job.run), f"{victim.job.index}:{victim.id}", kept)
        world.client.expire(KEYS.journal(victim.job.run), 60)
        with pytest.raises(errors.NotAuthentic):
            journal.begin(victim, repeatable=True)
        with pytest.raises(errors.NotAuthentic):
            journal.begin(victim, repeatable=True, shared="anything")


@pytest.mark.parametrize("text", [SECRET, LONG_SECRET], ids=["short", "long"])
def test_inputs_and_outputs_cannot_be_swapped(world: World, text: str) -> None:
    one, two = world.accept(ROW, inputs={"x": f"one {text}"}), world.accept(ROW, inputs={"x": f"two {text}"})
    swap(world, KEYS.run(one), KEYS.run(two), "inputs")
    with pytest.raises(errors.NotAuthentic):
        _ = world.claim(one).inputs
    swap(world, KEYS.run(one), KEYS.run(two), "inputs")
    for run in (one, two):
        claim = world.claim(run) if run == two else world.claim(run, claim="again")
        attempt = claim.attempt or 1
        assert world.runs.complete(Job(run, 0), attempt, output(f"{run} {text}")).word == "recorded"
    swap(world, KEYS.task(one, 0), KEYS.task(two, 0), "output")
    with pytest.raises(errors.NotAuthentic):
        _ = world.claim(one, 1).context


def swap(world: World, one: str, two: str, field: str) -> None:
    first, second = world.client.hget(one, field), world.client.hget(two, field)
    world.client.hset(one, field, second)
    world.client.hset(two, field, first)


def test_a_field_cannot_be_given_out_as_another(world: World) -> None:
    run = lived(world)
    world.client.hset(KEYS.task(run, 0), "messages", str(world.client.hget(KEYS.task(run, 0), "output")))
    with pytest.raises(errors.NotAuthentic):
        world.read(run)


def test_the_content_of_a_blob_cannot_be_changed_or_exchanged(world: World) -> None:
    runs = [world.accept(ONE, inputs={"x": f"{at} {LONG_SECRET}"}) for at in range(2)]
    one, two = sorted(world.client.scan_iter("{t}:blob:*"))
    content = world.client.execute_command("HGET", one, "text", NEVER_DECODE=True)
    world.client.hset(two, "text", content)
    world.client.hset(one, "text", content[:-1] + bytes([content[-1] ^ 1]))
    for run in runs:
        with pytest.raises(errors.NotAuthentic):
            world.read(run)


def test_a_run_cannot_be_given_another_crew(world: World) -> None:
    """Neither a forged one, nor one that is stored with good reason, nor with the stamp of that one's run."""
    run, other = world.accept(ONE), world.accept(ROW)
    mine, theirs = (str(world.client.hget(KEYS.run(one), "spec")) for one in (run, other))
    world.client.hset(KEYS.run(run), "spec", theirs)
    claim = world.claim(run)
    with pytest.raises(errors.NotAuthentic):
        _ = claim.spec
    with pytest.raises(errors.NotAuthentic):
        world.read(run)
    world.client.hset(KEYS.run(run), "stamp", str(world.client.hget(KEYS.run(other), "stamp")))
    with pytest.raises(errors.NotAuthentic):
        world.read(run)
    world.client.set(KEYS.spec(mine), ROW.to_json(), ex=60)
    with pytest.raises(errors.NotAuthentic):
        world.runs.spec(mine)
    world.client.set(KEYS.spec(mine), str(world.client.get(KEYS.spec(theirs))), ex=60)
    with pytest.raises(errors.NotAuthentic):
        world.runs.spec(mine)


@pytest.mark.parametrize("kind", ["token", "task_warned", "task_requeued", "task_failed"])
def test_what_is_told_of_a_run_cannot_be_forged(world: World, kind: str) -> None:
    run = world.accept(ONE)
    forged = {"task": "0", "attempt": "1", "reason": "pay me", "text": "pay me", "error": '{"error": "JobBroken"}'}
    world.client.xadd(KEYS.events(run), {"type": kind, **forged}, nomkstream=True)
    with pytest.raises(errors.NotAuthentic):
        world.runs.events(run, "0-0")


def test_a_schedule_cannot_be_forged(world: World) -> None:
    for name in ("a", "b"):
        world.store.schedules.put(name, ONE, {"x": name}, Timing(every=60).to_json())
    swap(world, KEYS.schedule("a"), KEYS.schedule("b"), "inputs")
    assert [one.name for one in world.store.schedules.due().unreadable] == ["a", "b"]
    with pytest.raises(errors.NotAuthentic):
        world.store.schedules.read("a")


# -- what the scripts write themselves, or copy ----------------------------------------------------------------------


def test_a_result_is_shared_with_other_tasks(world: World) -> None:
    run = world.accept(PAIR)
    first, second = claimed(world, run, 0), claimed(world, run, 1)
    journal = world.store.journal
    journal.finish(first, "any", seconds=1.0)
    for text in (SECRET, LONG_SECRET):
        shared = f"shared {len(text)}"
        journal.share(first.job, shared, text)
        call = replace(second, digest=shared)
        assert journal.begin(call, repeatable=True, shared=shared).answer == text
        assert journal.begin(call, repeatable=True, shared=shared).answer == text
        with pytest.raises(errors.NotAuthentic):
            journal.begin(call, repeatable=True, shared="another")
    answers = {entry["answer"] for entry in world.store.export(run)["journal"]}
    assert answers == {"any", SECRET, LONG_SECRET}


def test_a_task_that_crashed_too_often_says_so(world: World) -> None:
    run = world.accept(ONE)
    for _ in range(3):
        world.claim(run)
        world.clock.forward(60)
        world.sweep()
    assert isinstance(world.read(run).error, errors.Crashed)
    assert [event.type for event in world.runs.events(run, "0-0")][-1] == "run_failed"


def test_what_an_attempt_failed_over_is_not_told_by_the_next_that_crashes(world: World) -> None:
    run = world.accept(ONE)
    call = claimed(world, run)
    world.runs.requeue(call.job, call.attempt, f"failed over {SECRET}", counts=True)
    for _ in range(3):
        world.claim(run)
        world.clock.forward(60)
        world.sweep()
    assert isinstance(world.read(run).error, errors.Crashed)
    assert SECRET not in everything(world)


def test_a_call_in_doubt_can_be_gone_on_without(world: World) -> None:
    run = world.accept(ONE)
    call = replace(claimed(world, run), kind="tool")
    world.store.journal.begin(call, repeatable=False)
    world.runs.pause(call.job, call.attempt, "in doubt", call.id)
    world.runs.resume(run, "skip")
    assert "not known" in world.store.journal.begin(call, repeatable=False).answer
    assert "not known" in json.dumps(world.store.export(run)["journal"])


def test_a_replay_takes_over_what_is_its_own_then(world: World) -> None:
    parent = world.accept(ROW)
    call = claimed(world, parent)
    world.runs.complete(call.job, call.attempt, output(LONG_SECRET), [SECRET])
    child = world.accept(ROW, kept={0: 0}, parent=parent)
    task = world.task(child)
    assert (task.output, json.loads(task.messages), task.kept) == (output(LONG_SECRET), [SECRET], True)
    assert task.ended == world.task(parent).ended
    (blob,) = world.client.scan_iter("{t}:blob:*")
    assert world.client.hget(blob, "runs") == "2"
    assert world.client.hget(KEYS.task(child, 0), "output") != world.client.hget(KEYS.task(parent, 0), "output")
    assert world.claim(child, 1).context == {0: output(LONG_SECRET)}


def test_a_run_that_is_resumed_with_another_crew_is_of_that(world: World) -> None:
    run = world.accept(ONE)
    named = world.claim(run).named("digest")
    world.runs.cancel(run)
    mended = crew((), name="mended")
    changed = with_keys(world, NEW, OLD)
    changed.runs.resume(run, spec=mended)
    claim = changed.claim(run)
    assert changed.runs.spec(claim.spec) == mended
    assert claim.named("digest") == named, "else its calls would be made again"
