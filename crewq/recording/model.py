"""`RecordedModel`: asks a real model once, and after that its recording."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, PrivateAttr

from crewq import errors
from crewq.freeze import llm_spec
from crewq.language_model import LLM
from crewq.model import BaseLLM, Features, Front, Model, ModelAnswer, ModelRequest, OnToken
from crewq.recording.asked import Asked, Censor
from crewq.recording.file import Heard, Recording, begun_now
from crewq.settings import Settings
from crewq.spec import LLMSpec

Record = Literal["", "new", "all"]
RECORD = "CREWQ_RECORD"

# What a provider says to this very request, and would say again: part of how the conversation goes on.
LASTING = (errors.ContextTooLong, errors.ModelRefused)


class RecordedModel(Front):
    """A model whose answers come from a file, recorded once from the real model: for tests in CI, without network or key.

        llm = RecordedModel("openai/gpt-4.1-mini", file="tests/recordings/report.json")

    What is asked is compared whole: messages, tools, options, schema. A request that was not recorded ends the task with
    NotRecorded, which shows what changed against the one most like it. Tool calls, structured output, tokens and cost are
    kept as they were; with `Crew(stream=True)` a replayed answer is told word by word.

    Keys never get into the file: how the provider is reached is no part of it, and values of variables such as
    OPENAI_API_KEY, and whatever looks like a provider's key, are crossed out. What a prompt says is in it, so look at it
    before it is committed.

    Any number of calls, threads and worker processes may use one file. Of the same request asked again, or by several at
    once, the first answer stands. Workers in other processes need `CREWQ_IMPORTS=crewq.recording`, and the file at the
    same place.

    Args:
        of: the real model: a name as litellm takes it, an `LLM`, or a model of your own; None: the default one. It is built
            only to record. Where it has fallbacks, these are asked as ever, and the file says which of them answered.
        file: the recording; a path that is not absolute begins in the working directory of this process.
        record: what is recorded: nothing (""), requests that the file lacks ("new"), or all of them from the start
            ("all"). None: as the variable CREWQ_RECORD says, else nothing.
        ignore: regular expressions; what they match in a request is not compared, such as a date.

    Raises:
        LiteralKey: the real model holds a key of its own.
        NotPortable: the real model cannot travel to a worker.
        SettingInvalid: CREWQ_RECORD cannot be meant.
        InvalidField: `ignore` holds what is no regular expression.
    """

    file: Path
    ignore: list[str] = Field(default_factory=list)
    record: Record = ""
    take: str = ""  # which recording it is of; empty: what the file holds

    _asking: dict[str, asyncio.Lock] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        of: str | LLM | BaseLLM | LLMSpec | None = None,
        *,
        file: str | Path,
        record: Record | None = None,
        ignore: list[str] | None = None,
        **travelled: Any,
    ) -> None:
        if isinstance(of, LLMSpec):  # in a worker, where all was settled before
            settled: dict[str, Any] = {"of": of, "file": file, "record": record or "", **travelled}
        else:
            settled = _settled(of, Path(file), record)
        fields = {"ignore": _checked(ignore or []), **settled}
        super().__init__(**fields)

    def stand_before(self, build: Callable[[], Model]) -> None:
        """Be told how to build the real model; to record, it is built at once, as the event loop has no time for that."""
        super().stand_before(build)
        if self.record:
            self._real  # noqa: B018 - a property that is computed once

    def features(self) -> Features:
        """What the model could do when it was recorded.

        Raises:
            RecordingUnusable: nothing was recorded of it.
        """
        known = self._recording.features(self.model)
        if known is None and not self.record:
            raise self._recording.absent(self.model)
        return known or self._real.features()

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        """The recorded answer, or the real one, which is recorded.

        Raises:
            NotRecorded: it was not recorded; tells what changed.
            RecordingUnusable: there is no recording, or it cannot be read or written.
            ModelError: the real model's, now or as it was recorded.
        """
        request = self._whole(request)
        asked = Asked.of(request, self._censor, self.ignore)
        if not self.record:
            return _replayed(await self._found(asked), on_token)
        async with self._asking.setdefault(asked.digest, asyncio.Lock()):
            heard = await asyncio.to_thread(self._recording.find, asked)
            return _replayed(heard, on_token) if heard else await self._recorded(asked, request, on_token)

    # -- replay --------------------------------------------------------------------------------------------

    async def _found(self, asked: Asked) -> Heard:
        heard = await asyncio.to_thread(self._recording.find, asked)
        if heard is None:
            raise await asyncio.to_thread(self._recording.missing, asked)
        return heard

    @cached_property
    def _recording(self) -> Recording:
        return Recording(self.file, self.ignore, self.take)

    @cached_property
    def _censor(self) -> Censor:
        return Censor(os.environ)

    def _whole(self, request: ModelRequest) -> ModelRequest:
        """The request with the real model's own options, which the agent knows nothing of."""
        spec = cast("LLMSpec", self.of)
        return request.model_copy(update={"model": spec.model, "options": {**spec.options, **request.options}})

    # -- record --------------------------------------------------------------------------------------------

    async def _recorded(self, asked: Asked, request: ModelRequest, on_token: OnToken | None) -> ModelAnswer:
        try:
            heard = Heard(answer=await self._real.complete(request, on_token))
        except LASTING as error:
            heard = Heard(error=error)
        kept = await asyncio.to_thread(self._recording.add, asked, self._clean(heard), self._real.features())
        return _replayed(kept, None)

    @cached_property
    def _real(self) -> Model:
        build = self._build
        if build is None:
            raise errors.RecordingUnusable(
                file=self.file,
                model=self.model,
                reason="there is no worker here to ask the real model.",
                advice="Record within a run: Crew(...).kickoff().",
            )
        return build()

    def _clean(self, heard: Heard) -> Heard:
        if heard.error:
            return Heard(error=errors.CrewqError.from_record(self._censor.clean(heard.error.record())))
        assert heard.answer is not None
        return Heard(answer=ModelAnswer.model_validate(self._censor.clean(heard.answer.model_dump(mode="json"))))


def _replayed(heard: Heard, on_token: OnToken | None) -> ModelAnswer:
    if heard.error:
        raise type(heard.error)(**heard.error.facts)  # one of its own for each who asks
    assert heard.answer is not None
    if on_token:
        for piece in re.findall(r"\S+\s*|\s+", heard.answer.text):
            on_token(piece)
    return heard.answer


# -- where it is made ------------------------------------------------------------------------------------------


def _settled(of: str | LLM | BaseLLM | None, file: Path, record: Record | None) -> dict[str, Any]:
    """What is still open, by the process that made it: it travels to the workers so."""
    for llm in of.chain if isinstance(of, LLM) else ():
        if isinstance(llm, LLM) and llm.api_key is not None:
            raise errors.LiteralKey(model=llm.model, variable="the provider's variable, such as OPENAI_API_KEY,")
    spec = llm_spec(of, f"behind the recording {file.name}", Settings.from_env(os.environ))
    mode = _mode(os.environ) if record is None else record
    take = _take(os.getpid()) if mode == "all" else ""
    return {"of": spec, "model": spec.model, "file": file.absolute(), "record": mode, "take": take}


def _mode(environ: Mapping[str, str]) -> Record:
    given = environ.get(RECORD, "")
    if given not in ("", "new", "all"):
        reason = "it must be new (record what is missing) or all (record all of it again)."
        raise errors.SettingInvalid(variable=RECORD, value=given, reason=reason)
    return cast("Record", given)


@cache
def _take(_process: int) -> str:
    """The one recording of this process: what several models or tests write into one file belongs together."""
    return begun_now()


def _checked(ignore: list[str]) -> list[str]:
    for pattern in ignore:
        try:
            re.compile(pattern)
        except re.error as error:
            reason = f"{pattern!r} is not a regular expression: {error}."
            raise errors.InvalidField(owner="RecordedModel", field="ignore=...", reason=reason) from error
    return ignore


__all__ = ["RecordedModel"]
