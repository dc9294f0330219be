"""The agent loop: ask the model, use the tools it asks for, until it gives an answer that can be accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from crewq.agent.brief import Answer, Brief, Step
from crewq.agent.conversation import Conversation
from crewq.agent.dialect import Reply
from crewq.agent.review import Check, Refused, Review, Unfit
from crewq.agent.tally import Tally
from crewq.agent.toolbox import Toolbox
from crewq.model import Model, OnToken
from crewq.outputs import TaskOutput

OnStep: TypeAlias = Callable[[Step], None]


async def perform(
    brief: Brief,
    model: Model,
    toolbox: Toolbox,
    on_step: OnStep | None = None,
    on_token: OnToken | None = None,
    checks: Sequence[Check] = (),
) -> Answer:
    """Carry out a task.

    The model is asked up to `max_iter` times; then the tools are put away and it is asked for its best answer. An answer
    that is empty or does not fit the task's schema is asked for again, a few times; one that a check refuses is asked for
    again in the same conversation.

    Args:
        brief: the task, and the agent.
        model: who is asked.
        toolbox: the agent's tools.
        on_step: called after each tool and with each answer that fits.
        on_token: called with each piece of text as the model streams it.
        checks: who must accept the answer, one after another.

    Raises:
        ModelError: the model failed; ContextTooLong and AnswerUnusable are two ways to.
        OutputInvalid: no answer fits the task's schema.
        CrewqError: a check ends the task.
        StoreError: the store failed under a tool.
    """
    conversation = Conversation(brief, model, toolbox.schemas, on_token)
    review, tally = Review(brief), Tally(brief)
    report = on_step or _ignore
    while True:
        reply = await conversation.ask()
        said = await _use_tools(reply, conversation, toolbox, report, tally) if reply.calls else reply.answer
        if said is None:
            review.something_said()
            continue
        try:
            text, value = review.accept(said, problem=reply.problem, cut_off=reply.cut_off)
            report(Step(kind="answer", text=text))
            output = await _checked(tally.on(brief.output(text, value)), checks)
            return Answer(tally.on(output), conversation.messages)
        except Unfit as unfit:
            tally.refusals += isinstance(unfit, Refused)
            conversation.tell(str(unfit))


async def _use_tools(
    reply: Reply, conversation: Conversation, toolbox: Toolbox, report: OnStep, tally: Tally
) -> str | None:
    """Make the calls of a reply; the result that is the answer to the task, if one is."""
    results = await toolbox.call_all(reply.calls)
    conversation.give(reply, results)
    for call, result in zip(reply.calls, results, strict=True):
        tally.note(call, result)
        report(Step("tool", reply.thought, tool=call.name, arguments=call.arguments, result=result.text))
    return next((result.text for result in results if result.final), None)


async def _checked(output: TaskOutput, checks: Sequence[Check]) -> TaskOutput:
    for check in checks:
        output = await check(output)
    return output


def _ignore(step: Step) -> None:
    pass


__all__ = ["OnStep", "perform"]
