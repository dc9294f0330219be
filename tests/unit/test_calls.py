"""Calls of an attempt: made once, answered from the journal after that, whatever became of the attempt that made them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import fakeredis
import pytest

from crewq import errors
from crewq.agent import FallbackModel, RetryingModel, Toolbox, invoke_directly
from crewq.calls import Attempt, JournalledModel, NoLongerOurs, PersonNeeded, journalled
from crewq.events import CallFinished
from crewq.model import Features, Model, ModelAnswer, ModelRequest, ToolCall
from crewq.outputs import UsageMetrics
from crewq.store import Job
from crewq.tools import BaseTool, tool
from tests.store.world import LEASE, ONE, World

pytestmark = pytest.mark.asyncio
REQUEST = ModelRequest(model="m", messages=({"role": "user", "content": "hello"},))


class Worker:
    """One worker after the other at one task, each with its own attempt."""

    def __init__(self, world: World, threads: ThreadPoolExecutor) -> None:
        self.world = world
        self.threads = threads
        self.run = world.accept(ONE)
        self.attempt = self.next()

    def next(self) -> Attempt:
        """A worker claims the task, after the one before it died, if there was one."""
        self.world.clock.forward(LEASE + 1)
        self.world.sweep()
        claim = self.world.claim(self.run)
        journal = self.world.store.journal
        self.attempt = Attempt(
            journal, lambda answer: answer.write(journal), Job(self.run, 0), claim.attempt, self.threads
        )
        return self.attempt

    async def make(self, answer: str = "answer", **options: Any) -> tuple[str, bool]:
        async def do() -> str:
            return answer

        return await self.attempt.make(self.attempt.call("model", "m", "digest"), do, write=str, **options)

    async def break_off(self, **options: Any) -> None:
        """The worker dies while a call is under way."""
        begun = asyncio.Event()

        async def do() -> str:
            begun.set()
            await asyncio.Event().wait()
            return "never"

        call = asyncio.ensure_future(
            self.attempt.make(self.attempt.call("model", "m", "digest"), do, write=str, **options)
        )
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    @property
    def repeated(self) -> int:
        return self.world.task(self.run).repeated


@pytest.fixture
def worker() -> Iterator[Worker]:
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
    with ThreadPoolExecutor(2) as threads:
        yield Worker(World(client), threads)
    client.close()


async def test_what_was_asked_before_is_answered_from_the_journal(worker: Worker) -> None:
    assert await worker.make("first") == ("first", False)
    worker.next()
    assert await worker.make("second") == ("first", True)
    assert worker.repeated == 0


async def test_the_same_question_asked_twice_in_an_attempt_is_two_questions(worker: Worker) -> None:
    assert [await worker.make("a"), await worker.make("b")] == [("a", False), ("b", False)]
    worker.next()
    assert [await worker.make("x"), await worker.make("x"), await worker.make("c")] == [
        ("a", True),
        ("b", True),
        ("c", False),
    ]


async def test_a_call_that_was_broken_off_is_made_again_and_counted(worker: Worker) -> None:
    await worker.break_off()
    worker.next()
    assert await worker.make("again") == ("again", False)
    assert worker.repeated == 1


async def test_a_call_that_must_not_be_repeated_is_in_doubt(worker: Worker) -> None:
    await worker.break_off(repeatable=False)
    worker.next()
    with pytest.raises(PersonNeeded) as caught:
        await worker.make(repeatable=False)
    assert caught.value.call.digest == "digest"


async def test_whoever_lost_the_task_makes_no_call(worker: Worker) -> None:
    stale = worker.attempt
    worker.next()
    worker.attempt = stale
    with pytest.raises(NoLongerOurs):
        await worker.make()


async def test_an_answer_that_comes_after_the_task_was_lost_is_kept(worker: Worker) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def do() -> str:
        begun.set()
        await go_on.wait()
        return "late"

    call = asyncio.ensure_future(worker.attempt.make(worker.attempt.call("model", "m", "digest"), do, write=str))
    await begun.wait()
    worker.next()
    go_on.set()
    assert await call == ("late", False)
    assert await worker.make("fresh") == ("late", True)


class Counting:
    """A model that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def features(self) -> Features:
        return Features(context_window=7)

    async def complete(self, request: ModelRequest, on_token: Any = None) -> ModelAnswer:
        self.asked += 1
        call = ToolCall(id="1", name="search", arguments='{"q": "ü"}')
        return ModelAnswer(text="🦀", tool_calls=(call,), usage=UsageMetrics(total_tokens=3, cost=0.25))


def journalled_model(model: Model, attempt: Attempt, name: str = "m") -> JournalledModel:
    return JournalledModel(model, name, attempt, lambda call: model)


async def test_a_model_is_asked_once_and_paid_once(worker: Worker) -> None:
    model = Counting()
    first = await journalled_model(model, worker.attempt).complete(REQUEST)
    again = await journalled_model(model, worker.next()).complete(REQUEST)
    assert first == again == await Counting().complete(REQUEST)
    assert model.asked == 1
    usage = worker.world.read(worker.run).usage
    assert (usage.total_tokens, usage.cost) == (3, 0.25)
    assert journalled_model(model, worker.attempt).features() == Features(context_window=7)


async def test_an_answer_is_found_again_whichever_model_gave_it(worker: Worker) -> None:
    first = journalled_model(Failing(DOWN), worker.attempt, "first")
    answer = await FallbackModel([first, journalled_model(Counting(), worker.attempt, "second")]).complete(REQUEST)
    worker.next()
    assert await journalled_model(Counting(), worker.attempt, "first").complete(REQUEST) == answer
    calls = [event for event in worker.world.runs.events(worker.run, "0-0") if isinstance(event, CallFinished)]
    assert [(call.name, call.reused) for call in calls] == [("second", False), ("first", True)]
    assert worker.world.read(worker.run).usage.total_tokens == 3


async def test_an_attempt_is_idle_while_all_its_calls_wait(worker: Worker) -> None:
    """Else it must not end: a call that is under way would be lost."""
    attempt, part = worker.attempt, worker.attempt.part("work")

    async def wait() -> str:
        with attempt.waiting():
            return str(attempt.idle)

    async def work() -> str:
        assert not attempt.idle
        return (await attempt.make(attempt.call("model", "m", "waits"), wait, write=str))[0]

    assert await part.make(part.call("model", "m", "works"), work, write=str) == ("False", False)
    assert await part.make(part.call("model", "m", "waits"), wait, write=str) == ("True", False)


class Failing(Counting):
    """A model that fails at first."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)

    async def complete(self, request: ModelRequest, on_token: Any = None) -> ModelAnswer:
        answer = await super().complete(request, on_token)
        if self.failures:
            raise self.failures.pop(0)
        return answer


BUSY = errors.RateLimited(model="m", status=429, reason="slow down")
DOWN = errors.ModelUnavailable(model="m", status="HTTP 503", reason="down")


def retrying(model: Counting, worker: Worker, pause: Callable[[], object] = lambda: None) -> RetryingModel:
    async def sleep(seconds: float) -> None:
        pause()

    return RetryingModel(journalled_model(model, worker.attempt), sleep=sleep)


async def test_a_call_that_was_refused_and_tried_again_is_no_repetition(worker: Worker) -> None:
    model = Failing(DOWN, DOWN)
    first = await retrying(model, worker).complete(REQUEST)
    worker.next()
    assert await retrying(model, worker).complete(REQUEST) == first
    assert (model.asked, worker.repeated) == (3, 0)
    events = [event.type for event in worker.world.runs.events(worker.run, "0-0") if event.type.startswith("call")]
    assert events == ["call_started", "call_started", "call_started", "call_finished", "call_finished"]


async def test_a_worker_that_dies_between_two_tries_had_nothing_in_flight(worker: Worker) -> None:
    with pytest.raises(errors.RateLimited):
        await journalled_model(Failing(BUSY), worker.attempt).complete(REQUEST)
    worker.next()
    await journalled_model(Counting(), worker.attempt).complete(REQUEST)
    assert worker.repeated == 0


async def test_equal_calls_of_which_one_fails_are_told_apart(worker: Worker) -> None:
    failing, fine = Failing(BUSY), Counting()
    for model in (fine, failing, fine):
        with suppress(errors.RateLimited):
            await journalled_model(model, worker.attempt).complete(REQUEST)
    worker.next()
    for _ in range(2):
        await journalled_model(fine, worker.attempt).complete(REQUEST)
    assert fine.asked == 2


@pytest.mark.parametrize("how", ["cancelled", "lost"])
async def test_nothing_is_tried_again_for_a_task_that_is_not_ours_any_more(worker: Worker, how: str) -> None:
    model = Failing(DOWN)
    end = worker.next if how == "lost" else lambda: worker.world.runs.cancel(worker.run)
    with pytest.raises(NoLongerOurs):
        await retrying(model, worker, end).complete(REQUEST)
    assert model.asked == 1


# -- tools -------------------------------------------------------------------------------------------------


def counted(failing: bool, *, idempotent: bool = True) -> tuple[BaseTool, list[int]]:
    made: list[int] = []

    @tool("pay", idempotent=idempotent)
    def pay(amount: int) -> str:
        """Pay."""
        made.append(amount)
        if failing:
            raise ValueError("no money")
        return f"paid {amount}"

    return pay, made


def use(worker: Worker, thing: BaseTool) -> Callable[[int], Awaitable[str]]:
    box = Toolbox([thing], journalled(invoke_directly(worker.threads), worker.attempt))

    async def call(amount: int) -> str:
        return (await box.call(ToolCall(id="1", name="pay", arguments=f'{{"amount": {amount}}}'))).text

    return call


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize(
    ("failing", "text"),
    [(False, "paid 3"), (True, "The tool pay failed: ValueError: no money")],
    ids=["fine", "failing"],
)
async def test_a_tool_is_called_once_whatever_came_of_it(
    worker: Worker, failing: bool, text: str, idempotent: bool
) -> None:
    pay, made = counted(failing, idempotent=idempotent)
    assert await use(worker, pay)(3) == text
    worker.next()
    assert await use(worker, pay)(3) == text
    assert await use(worker, pay)(4) == text.replace("3", "4")
    assert made == [3, 4]
    assert worker.repeated == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreUnreachable(url="x", reason="away."),
        errors.SandboxUnavailable(sandbox="container", reason="away.", advice=""),
    ],
    ids=["store", "sandbox"],
)
async def test_what_is_away_is_no_failure_of_the_tool(worker: Worker, error: errors.CrewqError) -> None:
    made: list[int] = []

    @tool("pay")
    def pay(amount: int) -> str:
        """Pay."""
        made.append(amount)
        if len(made) == 1:
            raise error
        return "paid"

    with pytest.raises(type(error)):
        await use(worker, pay)(3)
    worker.next()
    assert await use(worker, pay)(3) == "paid", "nothing was written down of the first try"


async def test_a_tool_is_told_of_a_call_that_was_not_made(worker: Worker) -> None:
    told: list[dict[str, Any]] = []

    class Remembering(BaseTool):
        name: str = "pay"
        description: str = "Pays."

        def _run(self, amount: int) -> str:
            return f"paid {amount}"

        def replayed(self, arguments: dict[str, Any]) -> None:
            told.append(arguments)

    await use(worker, Remembering())(3)
    assert told == []
    worker.next()
    await use(worker, Remembering())(3)
    assert told == [{"amount": 3}]


# -- shared results ----------------------------------------------------------------------------------------


def counting(source: str, **fields: Any) -> tuple[BaseTool, list[int]]:
    """A tool as a worker builds it, and what it was called with."""
    pay, made = counted(fields.pop("failing", False), **fields)
    pay._source = source
    return pay, made


def cached(worker: Worker, thing: BaseTool) -> Callable[[int], Awaitable[str]]:
    box = Toolbox([thing], journalled(invoke_directly(worker.threads), worker.attempt, cache=True))

    async def call(amount: int) -> str:
        return (await box.call(ToolCall(id="1", name="pay", arguments=f'{{"amount": {amount}}}'))).text

    return call


async def test_with_the_cache_a_result_stands_in_for_equal_calls(worker: Worker) -> None:
    pay, made = counting("a tool")
    same, _ = counting("a tool")
    other, others = counting("another tool")
    assert [await cached(worker, pay)(amount) for amount in (3, 4, 3)] == ["paid 3", "paid 4", "paid 3"]
    assert await cached(worker, same)(3) == "paid 3"
    assert (made, await cached(worker, other)(3), others) == ([3, 4], "paid 3", [3])
    assert await use(worker, pay)(3) == "paid 3"
    assert made == [3, 4, 3]
    worker.next()
    assert [await cached(worker, pay)(amount) for amount in (3, 4, 3)] == ["paid 3", "paid 4", "paid 3"]
    assert made == [3, 4, 3]


@pytest.mark.parametrize("fields", [{"idempotent": False}, {"failing": True}])
async def test_an_effect_and_a_failure_are_nothing_to_share(worker: Worker, fields: dict[str, Any]) -> None:
    pay, made = counting("a tool", **fields)
    for _ in range(2):
        await cached(worker, pay)(3)
    assert made == [3, 3]


async def test_a_tool_may_object_to_its_result_being_used_again(worker: Worker) -> None:
    pay, made = counting("a tool")
    pay.cache_function = lambda arguments, result: arguments["amount"] > 3 and result == "paid 4"
    assert [await cached(worker, pay)(amount) for amount in (3, 4, 3, 4)] == ["paid 3", "paid 4", "paid 3", "paid 4"]
    assert made == [3, 4, 3]
