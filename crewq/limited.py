"""A model within its limits and budgets: each call waits for its turn among those of all workers, and is settled when it
has ended. What it costs is counted when its answer is written down.

A short wait is waited out in place. For a long one the task is set back, and its worker does something else meanwhile: the
turn is the call's in any attempt, and what was answered before is in the journal.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from crewq import errors
from crewq.agent import put_to
from crewq.agent.retry import FIRST_WAIT, LONGEST_WAIT_ASKED, TRIES
from crewq.calls import Attempt, NoLongerOurs
from crewq.charges import charge_for, over, tokens_of, unpriced, whose_is
from crewq.host import Host
from crewq.limits import Limit, limit_of, tightest
from crewq.model import Features, ModelAnswer, ModelRequest, OnToken
from crewq.spec import LLMSpec
from crewq.store import Call, Charge, Demand, Turn
from crewq.traced import ask

log = logging.getLogger("crewq.limited")
Result = TypeVar("Result")

IN_PLACE = 3.0  # seconds: to set a task back and to take it up again costs about one
ASK_AGAIN = 0.25  # seconds between two looks for a free slot
NEXT_LOOK = 30.0  # seconds after which a task that was set back looks itself; it is called as soon as a slot is free
SPREAD = 1.0  # seconds over which those who left a provider alone come back
SETTLING = 5.0  # seconds after which a task looks again whether its budget has room, now that other calls have ended


class TurnFarOff(BaseException):
    """The next call has to wait for longer than is worth a worker. Not an `Exception`: no tool or loop may take it for its
    own.

    Args:
        reason: what a person is told.
        delay: seconds until the task is to be taken up again.
        demand: a limit, one of whose slots it waits for.
    """

    def __init__(self, reason: str, delay: float, demand: Demand | None = None) -> None:
        self.reason = reason
        self.delay = delay
        self.demand = demand
        super().__init__(reason)


class LimitedModel:
    """A model that is asked when it is this call's turn, and once more when the provider said that there were too many.

    Args:
        host: this worker.
        attempt: whose call it is.
        call: the call.
        llm: the model.
        asked: the one that requests are made for, if it is another.
        more: limits beside those of the model itself.
        metadata: whose call it is, for who watches.
    """

    def __init__(
        self,
        host: Host,
        attempt: Attempt,
        call: Call,
        llm: LLMSpec,
        asked: LLMSpec,
        more: Sequence[Demand],
        metadata: Mapping[str, Any],
    ) -> None:
        self._host = host
        self._attempt = attempt
        self._call = call
        self._llm = llm
        self._asked = asked
        self._more = tuple(more)
        self._metadata = dict(metadata)
        self._model = host.model(llm)
        self._counted = llm.behind or llm
        self._limit = _limit_of(host, self._counted)

    def features(self) -> Features:
        """What the model can do."""
        return self._model.features()

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """Answer `request`.

        Raises:
            TurnFarOff: not now.
            OverBudget: not under this budget.
            PriceUnknown: the budget is one of dollars, and nobody knows what a call costs.
            NoLongerOurs: this attempt lost its task.
            RateLimited: the provider refused this call too often, or wants to be left alone for too long.
            ModelError: as the model.
        """
        request = put_to(self._llm, request, self._asked).model_copy(update={"metadata": self._metadata})
        demands = self._demands(request)
        charge = await self._charge(request)
        turn = await self._turn(demands, charge) if self._limited or charge or self._attempt.slowed else None
        while True:
            try:
                answer = await ask(self._model, request, on_token, self._host.settings.trace_content)
            except errors.RateLimited as refusal:
                await self._refused(demands, turn, refusal)
                turn = await self._turn(demands, charge)
            except Exception:
                self._settle(demands, turn, None)
                raise
            else:
                self._settle(demands, turn, answer.usage.total_tokens or None)
                return answer

    @property
    def _limited(self) -> bool:
        return bool(self._limit or self._more)

    def _demands(self, request: ModelRequest) -> tuple[Demand, ...]:
        tokens = sum(tokens_of(request)) if self._limit.tpm else 0
        return (Demand(self._host.account(self._counted), self._limit, tokens), *self._more)

    async def _charge(self, request: ModelRequest) -> Charge | None:
        daily = self._attempt.daily
        if daily is None:
            return None
        # The one behind another may have to be loaded, which takes seconds, and the event loop has none to give.
        behind = partial(self._host.model, self._counted)
        provider = await asyncio.to_thread(behind) if self._llm.behind else self._model
        return charge_for(request, provider, daily)

    # -- a turn --------------------------------------------------------------------------------------------

    async def _turn(self, demands: tuple[Demand, ...], charge: Charge | None) -> Turn:
        """Wait for it: here, if it comes soon or if another call of this attempt is under way."""
        reserve = partial(self._host.store.limits.reserve, self._call, demands, charge)
        give_up = time.monotonic() + IN_PLACE
        with self._attempt.waiting():
            while True:
                turn = await self._ask(reserve)
                if turn.word == "go":
                    return turn
                if turn.word == "stop":
                    raise NoLongerOurs
                self._heed(turn, charge)
                pause = _pause(turn)
                if time.monotonic() + pause > give_up and self._attempt.idle:
                    raise _far_off(turn, pause, demands)
                await asyncio.sleep(min(pause, IN_PLACE))

    def _heed(self, turn: Turn, charge: Charge | None) -> None:
        """What a budget says that has no room, and none will come; but calls that are under way end first, and are kept."""
        if turn.objection is None or charge is None:
            return
        if turn.objection.word == "unpriced":
            raise unpriced(turn.objection, self._call)
        if turn.objection.word == "over" and self._attempt.idle:
            raise over(turn.objection, self._call, charge)

    # -- what came of it -----------------------------------------------------------------------------------

    async def _refused(self, demands: tuple[Demand, ...], turn: Turn | None, refusal: errors.RateLimited) -> None:
        """Have all workers leave the model alone for as long as the provider says, or else for some seconds.

        Raises:
            RateLimited: it makes no sense to ask again.
        """
        asked = refusal.retry_after
        if asked is not None and asked > LONGEST_WAIT_ASKED:
            raise self._given_up(demands, turn, refusal)
        pause = FIRST_WAIT if asked is None else asked
        refuse = self._host.store.limits.refuse
        times = await self._ask(partial(refuse, self._call, demands, turn, demands[0].scope, pause))
        if times >= TRIES:
            raise self._given_up(demands, turn, refusal)

    def _given_up(
        self, demands: tuple[Demand, ...], turn: Turn | None, refusal: errors.RateLimited
    ) -> errors.RateLimited:
        self._settle(demands, turn or Turn("go"), 0)
        return refusal

    def _settle(self, demands: tuple[Demand, ...], turn: Turn | None, tokens: int | None) -> None:
        """In a thread that nobody waits for: an answer that was paid for is to be written down first."""
        if turn is None:
            return

        def settle() -> None:
            try:
                self._host.publish(self._host.store.limits.settle(self._call, demands, turn, tokens), urgent=True)
            except errors.StoreError as error:
                log.warning("a call is not settled, so its slot is free when its task ends: %s", error)

        self._host.store_threads.submit(settle)

    async def _ask(self, question: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._host.store_threads, question)


def _limit_of(host: Host, llm: LLMSpec) -> Limit:
    own = Limit(llm.rpm, llm.tpm, llm.max_concurrency)
    return tightest((own, limit_of(llm.model, host.settings.limits)))


def _pause(turn: Turn) -> float:
    """Seconds until it makes sense to ask again; when a provider was left alone, not all come back at the same moment."""
    if turn.word in ("full", "refused"):
        return ASK_AGAIN
    return turn.seconds + random.SystemRandom().uniform(0, SPREAD if turn.word == "pause" else 0.0)


def _far_off(turn: Turn, pause: float, demands: Sequence[Demand]) -> TurnFarOff:
    if turn.objection:
        return TurnFarOff(f"waits for what calls under way will have taken of {whose_is(turn.objection)}", SETTLING)
    name = turn.scope.rpartition("@")[0]
    if turn.word == "full":
        full = next(one for one in demands if one.scope == turn.scope)
        return TurnFarOff(f"waits until fewer calls of {name} are under way", NEXT_LOOK, full)
    if turn.word == "pause":
        return TurnFarOff(f"waits, as the provider of {name} limits the rate of calls", pause)
    return TurnFarOff(f"waits for its turn under the limits of {name}", pause)


__all__ = ["LimitedModel", "TurnFarOff"]
