"""The tool that an agent with `allow_code_execution=True` has: `run_python`."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from pydantic import Field, PrivateAttr, SkipValidation

from crewq.agent.sandbox import Execution, Names, Sandbox, Session
from crewq.spec import RUN_PYTHON
from crewq.tools import BaseTool

TEXT_LIMIT = 10_000  # characters of output, and again of error, that the model is shown: some 2,500 tokens each

DESCRIPTION = """\
Run Python code and get what it prints, and the value of its last line if that is an expression.
Names stay defined from one call to the next. Print the results that you need.
{python}"""
UNCHANGED = "Names are as they were before this call."


class CodeTool(BaseTool):
    """Runs a model's code in one session of a sandbox, which is opened with the first call and belongs to one task.

    Code in a sandbox has no effect but on names. So if a session has lost them, or never had them as its calls were
    answered from a journal, they are brought back by running the same code again, silently, before the next call.
    """

    name: str = RUN_PYTHON
    description: str = DESCRIPTION
    sandbox: SkipValidation[Sandbox] = Field(exclude=True)

    _session: Session | None = PrivateAttr(default=None)
    _done: list[str] = PrivateAttr(default_factory=list)  # what has made the names that the session holds
    _missing: list[str] = PrivateAttr(
        default_factory=list
    )  # what it lacks, of those that the model believes to be there
    _turn: Any = PrivateAttr(default_factory=Lock)

    def model_post_init(self, context: Any) -> None:
        """Tell the model what Python there is in this sandbox."""
        super().model_post_init(context)
        self.description = self.description.format(python=self.sandbox.python)

    def _run(self, code: str) -> str:
        with self._turn:
            session = self._session = self._session or self.sandbox.session()
            while self._missing:
                self._perform(session, self._missing.pop(0))
            return _answer(self._perform(session, code))

    def _perform(self, session: Session, code: str) -> Execution:
        execution = session.run(code)
        if execution.names is Names.KEPT:
            self._done.append(code)
        elif execution.names is Names.GONE:
            self._missing[:0] = self._done
            self._done.clear()
        return execution

    def replayed(self, arguments: Mapping[str, Any]) -> None:
        """Take note of a call that was answered from a journal."""
        with self._turn:
            self._missing.append(str(arguments["code"]))

    def close(self) -> None:
        """End the session, even while code runs in it."""
        session, self._session = self._session, None
        self._done, self._missing = [], []
        if session:
            session.close()


def _answer(execution: Execution) -> str:
    parts = [_shortened(part.rstrip("\n")) for part in (execution.output, execution.error or "") if part]
    if execution.names is not Names.KEPT:
        parts.append(UNCHANGED)
    return "\n".join(parts) or "The code ran, and printed nothing. Print what you need to see."


def _shortened(text: str) -> str:
    """`text` without its middle if it is too long; a traceback says at its end what went wrong."""
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


__all__ = ["CodeTool"]
