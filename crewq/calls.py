"""What makes a call durable: the model and the tools of one attempt, with the journal between them and the agent.

The agent asks a `Model` and invokes tools, and knows nothing of this. A call is looked up before it is made; an answer
that was paid for is written down whatever happens to the attempt meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from heapq import heappop, heappush
from typing import Any, Literal, TypeVar

from crewq import errors
from crewq.agent import Delegation, Invoke
from crewq.budgets import Budget
from crewq.model import Features, Model, ModelAnswer, ModelRequest, OnToken, asked_beside
from crewq.narration import Narration
from crewq.outputs import TaskOutput, UsageMetrics
from crewq.spool import Answer
from crewq.store import FAILED, Call, Job, Journal
from crewq.tools import BaseTool

Result = TypeVar("Result")
ASK_AGAIN = 0.5  # seconds


class NoLongerOurs(BaseException):
    """This attempt lost its task while it worked on it. Not an `Exception`: no tool or loop may take it for its own."""


class PersonNeeded(BaseException):
    """A person decides how this task goes on. Until then it is set aside, and this attempt is over.

    Args:
        call: what the decision is about.
        reason: what a person is told.
        draft: the answer so far, if it is about that; None: about a tool that must not be repeated and was at work when
            its worker died, so that nobody knows whether it had its effect.
    """

    def __init__(self, call: Call, reason: str, draft: TaskOutput | None = None) -> None:
        self.call = call
        self.reason = reason
        self.draft = draft
        super().__init__(call.id)


class Attempt:
    """The calls of one attempt at a task.

    Args:
        journal: where they are looked up.
        keep: has the journal write an answer down, whatever happens to Redis and to this attempt meanwhile.
        job: the task.
        attempt: its fence.
        threads: where the journal, which blocks, is asked.
        within: which part of the work these calls belong to; empty: to none in particular.
        named: what the digest of a call is called in the journal.
        daily: what its tenant may spend today; None: no budget stands over its calls, neither that nor the run's.
    """

    def __init__(
        self,
        journal: Journal,
        keep: Callable[[Answer], str],
        job: Job,
        attempt: int,
        threads: Executor,
        within: str = "",
        named: Callable[[str], str] = str,
        daily: Budget | None = None,
    ) -> None:
        self._journal = journal
        self._keep = keep
        self._job = job
        self._attempt = attempt
        self._threads = threads
        self._within = within
        self._named = named
        self.daily = daily
        self._made: Counter[tuple[str, str]] = Counter()
        self._failed: defaultdict[tuple[str, str], list[int]] = defaultdict(list)  # ordinals, to be tried again
        self._parts: Counter[str] = Counter()
        self._steps: dict[str, int] = {}
        self.fresh = threading.Event()  # set once it makes a call that no earlier attempt has made
        self._under_way = Counter[str]()
        self.slowed = False  # some model was to be left alone when the latest call began

    def part(self, name: str) -> Attempt:
        """A part of the work, whose calls are told from equal ones elsewhere: parts may go on side by side, and which of
        them makes its call first is not the same in every attempt."""
        self._parts[name] += 1
        within = f"{self._within}{name} {self._parts[name]}/"
        part = Attempt(
            self._journal, self._keep, self._job, self._attempt, self._threads, within, self._named, self.daily
        )
        part.fresh = self.fresh
        part._under_way = self._under_way
        return part

    def call(self, kind: Literal["model", "tool", "person"], name: str, digest: str) -> Call:
        """The next call, to be made: one that has failed, once more, or else a new one.

        Args:
            kind: `model`, `tool` or `person`.
            name: what a person knows it by.
            digest: what identifies the request.
        """
        if self._within:
            digest = hashlib.sha256(f"{self._within}{digest}".encode()).hexdigest()[:32]
        digest = self._named(digest)
        if failed := self._failed[kind, digest]:
            return Call(self._job, self._attempt, kind, name, digest, heappop(failed))
        ordinal = self._made[kind, digest]
        self._made[kind, digest] += 1
        call = Call(self._job, self._attempt, kind, name, digest, ordinal)
        if kind == "model":
            self._steps[call.id] = len(self._steps) + 1
        return call

    def step(self, call: Call) -> int:
        """Which question to a model a call is, from 1: the same in each try and each attempt."""
        return self._steps[call.id]

    async def _note_failure(self, call: Call) -> None:
        await self._ask(lambda: self._journal.fail(call))
        heappush(self._failed[call.kind, call.digest], call.ordinal)

    async def make(
        self,
        call: Call,
        do: Callable[[], Awaitable[Result]],
        *,
        write: Callable[[Result], str],
        usage: Callable[[Result], str] = lambda result: "",
        repeatable: bool = True,
        shared: str = "",
    ) -> tuple[str, bool]:
        """Make a call, unless it was made before.

        Args:
            call: which one.
            do: makes it.
            write: its result as the journal keeps it.
            usage: what it used, as JSON.
            repeatable: whether it may be made again if it was under way when its worker died.
            shared: what it has in common with the calls of other tasks whose results will do for it; see `share`.

        Returns:
            The result as the journal keeps it, and whether it was there already.

        Raises:
            NoLongerOurs: this attempt must not make it.
            Exception: as `do`. The call has failed then, and may be made again: nobody paid for it.
            PersonNeeded: it was under way when its worker died, and must not be repeated.
        """
        known_as = self._named(shared) if shared else ""
        begin = partial(self._journal.begin, call, repeatable=repeatable, shared=known_as)
        finding = await self._ask(begin)
        while finding.word == "wait":
            await asyncio.sleep(ASK_AGAIN)
            finding = await self._ask(begin)
        if finding.word == "answer":
            return finding.answer, True
        if finding.word == "stop":
            raise NoLongerOurs
        if finding.word == "doubt":
            raise PersonNeeded(call, str(errors.CallInDoubt(tool=call.name, run=call.job.run)))
        self.fresh.set()
        self.slowed = finding.slowed
        began = time.monotonic()
        try:
            with self._counted("made"):
                result = await do()
        except Exception:
            if repeatable:  # else it may have had its effect all the same
                await self._note_failure(call)
            raise
        answer = Answer(call, write(result), usage(result), time.monotonic() - began)
        return await self._ask(lambda: self._keep(answer)), False

    async def share(self, shared: str, result: str) -> None:
        """Let the calls of all tasks of the run that have `shared` in common have this result."""
        await self._ask(lambda: self._journal.share(self._job, self._named(shared), result))

    @contextmanager
    def _counted(self, what: str) -> Iterator[None]:
        self._under_way[what] += 1
        try:
            yield
        finally:
            self._under_way[what] -= 1

    def waiting(self) -> AbstractContextManager[None]:
        """Around the wait of a call that is not made yet."""
        return self._counted("waiting")

    @property
    def idle(self) -> bool:
        """Whether all its calls wait: none would be lost if it ended now."""
        return self._under_way["made"] == self._under_way["waiting"]

    async def ask_person(self, draft: TaskOutput) -> str:
        """What a person says of an answer.

        Raises:
            PersonNeeded: nobody has said anything yet.
        """
        call = self.call("person", "person", draft.digest())
        said = await self._ask(lambda: self._journal.find(call))
        if said is None:
            raise PersonNeeded(
                call, f"A person is to say whether the answer will do: `crewq answer {call.job.run}`", draft
            )
        return said

    async def _ask(self, question: Callable[[], Result]) -> Result:
        """In a thread, which goes on should this attempt be cancelled: what was paid for is written down."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, question)


class JournalledModel:
    """A model whose answers are kept, by what was asked and not by who answers: that is found again whoever did.

    Args:
        model: tells what can be asked.
        name: what a person knows it by.
        attempt: whose calls they are.
        answers: who answers a new call.
        narrate: tells of an answer as it comes, where somebody wants that.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        attempt: Attempt,
        answers: Callable[[Call], Model],
        narrate: Callable[[Call], Narration] | None = None,
    ) -> None:
        self._model = model
        self._name = name
        self._attempt = attempt
        self._answers = answers
        self._narrate = narrate

    def features(self) -> Features:
        """What the model can do."""
        return self._model.features()

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """The model's answer, or the one that it gave before.

        Args:
            request: the question.
            on_token: if there is one, the answer is told as it comes: to whoever follows the run, in its place.

        Raises:
            ModelError: as the model itself.
            NoLongerOurs: this attempt lost its task.
        """
        call = self._attempt.call("model", self._name, request.digest())
        narration = self._narrate(call) if self._narrate and on_token else None

        async def ask() -> ModelAnswer:
            model = self._answers(call)
            if narration is None:
                return await model.complete(request, on_token)
            async with narration.going_on():
                answer = await model.complete(request, narration)
            await narration.complete(answer)
            return answer

        text, _ = await self._attempt.make(
            call,
            ask,
            write=lambda answer: answer.model_dump_json(exclude_defaults=True),
            usage=lambda answer: answer.usage.model_dump_json(exclude_defaults=True),
        )
        answer = ModelAnswer.model_validate_json(text)
        if narration:
            await narration.complete(answer)  # whole, if it was in the journal
        return answer


def journalled(invoke: Invoke, attempt: Attempt, hide: Callable[[str], str] = str, *, cache: bool = False) -> Invoke:
    """`invoke`, with the results of tools kept, and their failures too: a tool that raised has been at work all the same.
    What those say goes through `hide` before anybody sees it.

    With `cache`, the result of a call stands in for equal calls of the same tool in all tasks of the run, as in CrewAI; but
    never for one with an effect (`idempotent=False`), and only if the tool's `cache_function` agrees.

    A tool may have a `replayed(arguments)`, to be told of a call that was answered from the journal and not made.
    Delegated work is no call: each call within it is kept as its own. What a tool's own code asks of a model (`LLM.call`) is
    counted with the tool's call.
    """

    async def invoke_once(tool: BaseTool, arguments: dict[str, Any]) -> str:
        if isinstance(tool, Delegation):
            return await invoke(tool, arguments)
        shared = _digest([tool._source, arguments]) if cache and tool._source and tool.idempotent else ""
        with asked_beside() as used:
            result, reused = await attempt.make(
                attempt.call("tool", tool.public_name, _digest([tool.public_name, arguments])),
                lambda: _outcome(invoke, tool, arguments, hide),
                write=str,
                usage=lambda _: _sum(used),
                repeatable=tool.idempotent,
                shared=shared,
            )
        if reused and (replayed := getattr(tool, "replayed", None)):
            replayed(arguments)
        if result.startswith(FAILED):
            raise errors.TaskError(reason=result.removeprefix(FAILED))
        if shared and not reused and (tool.cache_function is None or tool.cache_function(arguments, result)):
            await attempt.share(shared, result)
        return result

    return invoke_once


def _sum(used: list[UsageMetrics]) -> str:
    return sum(used, UsageMetrics()).model_dump_json(exclude_defaults=True) if used else ""


def _digest(asked: list[Any]) -> str:
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


async def _outcome(invoke: Invoke, tool: BaseTool, arguments: dict[str, Any], hide: Callable[[str], str]) -> str:
    try:
        return await invoke(tool, arguments)
    except (errors.StoreError, errors.SandboxError):
        raise
    except Exception as error:  # noqa: BLE001 - a tool's own code may raise anything
        return f"{FAILED}{hide(errors.explain(error))}"


__all__ = ["Attempt", "JournalledModel", "NoLongerOurs", "PersonNeeded", "journalled"]
