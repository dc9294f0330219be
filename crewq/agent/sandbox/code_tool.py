"""The tool that an agent with `allow_code_execution=True` has: `run_python`."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from pydantic import Field, PrivateAttr, SkipValidation

from crewq.agent.sandbox import Execution, Sandbox, Session
from crewq.spec import RUN_PYTHON
from crewq.tools import BaseTool

TEXT_LIMIT = 10_000  # characters of output, and again of error, that the model is shown: some 2,500 tokens each

DESCRIPTION = """\
Run Python code and get what it prints, and the value of its last line if that is an expression.
Names stay defined from one call to the next. Print the results that you need.
A subset of Python 3 is there: functions, closures, async, plain classes and dataclasses, comprehensions, match, try, f-strings.
Not there: class inheritance, yield, del, method decorators, files, network, environment variables, other processes, packages.
Importable: asyncio base64 bisect collections copy csv dataclasses datetime decimal functools hashlib itertools json math
random re sys time typing unicodedata."""


class CodeTool(BaseTool):
    """Runs a model's code in one session of a sandbox, which is opened with the first call and belongs to one task."""

    name: str = RUN_PYTHON
    description: str = DESCRIPTION
    sandbox: SkipValidation[Sandbox] = Field(exclude=True)

    _session: Session | None = PrivateAttr(default=None)
    _unseen: list[str] = PrivateAttr(default_factory=list)
    _turn: Any = PrivateAttr(default_factory=Lock)

    def _run(self, code: str) -> str:
        with self._turn:
            self._session = self._session or self.sandbox.session()
            while self._unseen:
                self._session.run(self._unseen[0])
                del self._unseen[0]
            return _answer(self._session.run(code))

    def replayed(self, arguments: Mapping[str, Any]) -> None:
        """Take note of a call that was answered from a journal: before the next real call its code is run silently, so
        that the session holds the names that the model believes to be there.
        """
        with self._turn:
            self._unseen.append(str(arguments["code"]))

    def close(self) -> None:
        """End the session."""
        with self._turn:
            session, self._session = self._session, None
        if session:
            session.close()


def _answer(execution: Execution) -> str:
    parts = [_shortened(part.rstrip("\n")) for part in (execution.output, execution.error or "") if part]
    return "\n".join(parts) or "The code ran, and printed nothing. Print what you need to see."


def _shortened(text: str) -> str:
    """`text` without its middle if it is too long; a traceback says at its end what went wrong."""
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


__all__ = ["CodeTool"]
