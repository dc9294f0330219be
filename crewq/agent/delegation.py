"""Delegation: the two tools by which an agent has a coworker do a piece of work, or asks one a question.

The coworker works in this same process, within the task of the one who asks, with its own model, tools and limits. It
has no such tools itself, so work is handed on once and not in circles.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from pydantic import Field, PrivateAttr

from crewq.agent import prompts
from crewq.agent.brief import Brief
from crewq.agent.loop import OnStep, perform
from crewq.agent.toolbox import Toolbox
from crewq.errors import AnswerUnusable, ContextTooLong, explain
from crewq.model import Model, OnToken
from crewq.spec import ASK_COWORKER, DELEGATE_WORK, AgentSpec, TaskSpec
from crewq.tools import BaseTool


@dataclass(frozen=True)
class Equipment:
    """What an agent works with, what it is told of earlier runs, and who is told of its steps and of what it says."""

    model: Model
    toolbox: Toolbox
    on_step: OnStep
    on_token: OnToken | None = None
    remembered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coworker:
    """Who can be given a piece of work.

    Fields:
        agent: the coworker.
        equip: gives it what it works with, for one piece of work, which it is told in a text.
    """

    agent: AgentSpec
    equip: Callable[[str], AbstractAsyncContextManager[Equipment]]


class Delegation(BaseTool):
    """A tool that hands work to a coworker.

    Fields:
        asking: the task of the one who has it.
        coworkers: who can be asked.
    """

    asking: Brief = Field(exclude=True)
    coworkers: tuple[Coworker, ...] = Field(exclude=True)

    _given_to: list[str] = PrivateAttr(default_factory=list)

    @property
    def given_to(self) -> tuple[str, ...]:
        """The roles of those who were given work by it so far, one for each piece."""
        return tuple(self._given_to)

    def _run(self) -> str:
        raise NotImplementedError(f"{self.name} is used in an event loop.")

    async def _ask(self, role: str, request: str) -> str:
        coworker = next((one for one in self.coworkers if _plain(one.agent.role) == _plain(role)), None)
        if coworker is None:
            return prompts.no_such_coworker(role, [one.agent.role for one in self.coworkers])
        agent = coworker.agent
        self._given_to.append(agent.role)
        brief = replace(self.asking, agent=agent, context="", task=TaskSpec(key="", description=request, agent=0))
        try:
            async with coworker.equip(f"{self.name} {agent.role}\n{request}") as given:
                brief = replace(brief, remembered=given.remembered)
                async with asyncio.timeout(agent.max_execution_time):
                    done = await perform(brief, given.model, given.toolbox, given.on_step, given.on_token)
                    return done.text
        except TimeoutError:
            return prompts.not_done(agent.role, f"not within {agent.max_execution_time:g} s.")
        except (AnswerUnusable, ContextTooLong) as error:
            return prompts.not_done(agent.role, explain(error))


class DelegateWork(Delegation):
    """Has a coworker do a piece of work."""

    async def _arun(self, task: str, coworker: str, context: str = "") -> str:
        return await self._ask(coworker, prompts.handed_over(task, context))


class AskCoworker(Delegation):
    """Asks a coworker a question."""

    async def _arun(self, question: str, coworker: str, context: str = "") -> str:
        return await self._ask(coworker, prompts.asked(question, context))


def delegation_tools(asking: Brief, coworkers: Sequence[Coworker]) -> tuple[Delegation, ...]:
    """The two tools of an agent that has coworkers; none without any."""
    if not coworkers:
        return ()
    listed = prompts.coworkers([(one.agent.role, one.agent.goal) for one in coworkers])
    among = {"asking": asking, "coworkers": tuple(coworkers)}
    return (
        DelegateWork(name=DELEGATE_WORK, description=f"{prompts.DELEGATE_WORK}\n{listed}", **among),
        AskCoworker(name=ASK_COWORKER, description=f"{prompts.ASK_COWORKER}\n{listed}", **among),
    )


def _plain(role: str) -> str:
    """A role without what models change in it: case, space, quotes."""
    return re.sub("[\\s\"'`\u2018\u2019\u201c\u201d]+", "", role).casefold()


__all__ = ["AskCoworker", "Coworker", "DelegateWork", "Delegation", "Equipment", "delegation_tools"]
