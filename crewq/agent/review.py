"""Whether an answer can be accepted: it says something, and fits the schema of its task."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from jsonschema.exceptions import ValidationError
from jsonschema.validators import validator_for
from referencing import Registry

from crewq import errors
from crewq.agent import prompts
from crewq.agent.brief import Brief
from crewq.agent.json_text import decoded, mended
from crewq.outputs import TaskOutput

# A model that fails this often in a row fails again; each time costs the whole conversation.
RE_ASKS = 3
PROBLEMS_SHOWN = 10
PROBLEM_LENGTH = 300  # a problem may quote the whole answer

_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)```", re.DOTALL)


class Unfit(Exception):
    """An answer that is not accepted; the text tells the model why."""


class Refused(Unfit):
    """One that a guardrail does not accept."""


# Looks at an answer that fits: returns it, or another in its place, or raises `Unfit`, and the agent tries again.
Check: TypeAlias = Callable[[TaskOutput], Awaitable[TaskOutput]]


class Review:
    """Looks at the answers of one task, and counts those it did not accept."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._empty = 0
        self._misfits = 0

    def something_said(self) -> None:
        """Note that the model is not stuck in silence."""
        self._empty = 0

    def accept(self, text: str, *, problem: str | None = None, cut_off: bool = False) -> tuple[str, Any | None]:
        """The answer's text, and the value in it if the task has a schema.

        Args:
            text: the answer.
            problem: what is wrong with the form of the whole reply.
            cut_off: whether the reply reached the limit of its length.

        Raises:
            Unfit: it is empty or does not fit, and the model may try again.
            AnswerUnusable: it is empty once too often.
            OutputInvalid: it does not fit once too often.
        """
        if problem:
            self.something_said()
            raise Unfit(problem)
        text = prompts.unwrapped(text, self._brief)
        if not text:
            raise self._nothing_said(cut_off)
        self.something_said()
        schema = self._brief.task.output_schema
        if schema is None:
            return text, None
        value, problems = fitting(text, schema)
        if problems:
            raise self._does_not_fit(problems, schema, cut_off)
        return text, value

    def _nothing_said(self, cut_off: bool) -> Exception:
        self._empty += 1
        if self._empty <= RE_ASKS:
            return Unfit(prompts.BE_SHORTER if cut_off else prompts.SAY_SOMETHING)
        reason = "its replies reached the limit of their length (max_tokens)." if cut_off else "its replies were empty."
        return errors.AnswerUnusable(model=self._brief.agent.llm.model, tries=self._empty, reason=reason)

    def _does_not_fit(self, problems: list[str], schema: dict[str, Any], cut_off: bool) -> Exception:
        self._misfits += 1
        if self._misfits <= RE_ASKS:
            return Unfit(prompts.misfit(problems, cut_off))
        name = schema.get("title") or f"task {self._brief.task.label!r}"
        return errors.OutputInvalid(schema=name, reason="; ".join(problems))


def fitting(text: str, schema: dict[str, Any]) -> tuple[Any, list[str]]:
    """The first JSON value in `text` that fits `schema`, and no problems; or None, and what is wrong."""
    # An empty registry: a `$ref` to somewhere else is never fetched from there.
    validator = validator_for(schema)(schema, registry=Registry())
    first: list[str] | None = None
    for value in _values(text):
        problems = [
            _described(error) for error in sorted(validator.iter_errors(value), key=lambda error: error.json_path)
        ]
        if not problems:
            return value, []
        first = first or problems[:PROBLEMS_SHOWN]
    return None, first or ["There is no JSON in it."]


def _values(text: str) -> Iterator[Any]:
    """The JSON values that `text` may mean, the most literal reading first."""
    for candidate in (text, *_FENCED.findall(text), *_from_first_bracket(text)):
        try:
            yield decoded(candidate)
        except ValueError:
            continue
    for candidate in (*_FENCED.findall(text), *_from_first_bracket(text)):
        if (value := mended(candidate)) is not None:
            yield value


def _from_first_bracket(text: str) -> list[str]:
    start = re.search(r"[\[{]", text)
    if start is None:
        return []
    end = max(text.rfind("]"), text.rfind("}")) + 1
    return [text[start.start() : end], text[start.start() :]] if end > start.start() else [text[start.start() :]]


def _described(error: ValidationError) -> str:
    message = error.message
    return f"{error.json_path}: {message if len(message) <= PROBLEM_LENGTH else message[:PROBLEM_LENGTH] + ' ...'}"


__all__ = ["RE_ASKS", "Check", "Refused", "Review", "Unfit", "fitting"]
