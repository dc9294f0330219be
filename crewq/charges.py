"""What a call is thought to cost before it is made, and what becomes of one that a budget has no room for."""

from __future__ import annotations

from crewq import errors
from crewq.agent import Provider, estimate
from crewq.budgets import Budget
from crewq.model import ModelRequest
from crewq.store import Call, Charge, Objection

ANSWER_TOKENS = 500  # what an answer is taken to have, where `max_tokens` does not say: that of a page
WHOSE = {
    "run": "the budget of the run",
    "batch": "the budget of the batch",
    "tenant": "what the tenant {name} may spend in a day",
}


class OverBudget(BaseException):
    """A budget has no room for the next call: the task is set aside. Not an `Exception`: no tool or loop may take it for its
    own.

    Args:
        reason: what a person is told.
        kind: whose budget it is: run, batch or tenant.
    """

    def __init__(self, reason: str, kind: str) -> None:
        self.reason = reason
        self.kind = kind
        super().__init__(reason)


def tokens_of(request: ModelRequest) -> tuple[int, int]:
    """About how many tokens a request has, and its answer may have."""
    answer = request.options.get("max_completion_tokens") or request.options.get("max_tokens") or ANSWER_TOKENS
    return estimate(request.messages, request.tools), int(answer)


def charge_for(request: ModelRequest, provider: Provider, daily: Budget) -> Charge:
    """What a call asks of the budgets that it stands under."""
    asked, answered = tokens_of(request)
    return Charge(provider.price(asked, answered), asked + answered, daily)


def over(objection: Objection, call: Call, charge: Charge) -> OverBudget:
    """What sets a task aside whose next call a budget has no room for."""
    wanted = charge.cost if objection.what == "cost" else charge.tokens
    spent, budget, next_one = (
        _amount(objection.what, number) for number in (objection.spent, objection.budget, wanted)
    )
    whose = whose_is(objection)
    told = f"{whose[0].upper()}{whose[1:]} is used up: {spent} of {budget}, and the next call ({call.name}) may take"
    return OverBudget(f"{told} {next_one}. {_advice(objection, call)}", objection.kind)


def unpriced(objection: Objection, call: Call) -> errors.PriceUnknown:
    """The error of a call whose price nobody knows, under a budget of dollars."""
    return errors.PriceUnknown(model=call.name, whose=whose_is(objection))


def whose_is(objection: Objection) -> str:
    """Which budget it is, in words."""
    return WHOSE[objection.kind].format(name=objection.name)


def _advice(objection: Objection, call: Call) -> str:
    if objection.kind == "tenant":
        return (
            "The run goes on by itself when the next day begins (0:00 UTC); before that, once CREWQ_BUDGETS of the workers "
            f"allows more: `crewq resume {call.job.run}`."
        )
    option = "--budget DOLLARS" if objection.what == "cost" else "--max-tokens TOKENS"
    goes_on = "the run goes on where it stopped" if objection.kind == "run" else "its runs go on where they stopped"
    return f"Raise it, and {goes_on}: `crewq resume {objection.name} {option}`."


def _amount(what: str, number: float | None) -> str:
    if what == "tokens":
        return f"{int(number or 0):,} tokens"
    return f"${number or 0:.6f}".rstrip("0").rstrip(".")


__all__ = ["OverBudget", "charge_for", "over", "tokens_of", "unpriced", "whose_is"]
