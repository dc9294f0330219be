"""One agent's conversation with its model: what was said so far, and how to ask for the next reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crewq.agent import prompts
from crewq.agent.brief import Brief
from crewq.agent.dialect import Dialect, Native, Reply, in_words
from crewq.agent.react import STOP, Text
from crewq.agent.toolbox import ToolResult
from crewq.agent.window import shortened, too_long
from crewq.errors import ContextTooLong, ModelRefused
from crewq.model import Message, Model, ModelAnswer, ModelRequest, OnToken

# Once the middle is summarised and the rest is cut, a second refusal means that the task itself is too long.
SHORTENINGS = 2


class Conversation:
    """The messages of one task; gives up, one after another, what a provider does not support."""

    def __init__(self, brief: Brief, model: Model, schemas: Sequence[dict[str, Any]], on_token: OnToken | None) -> None:
        features = model.features()
        self._brief = brief
        self._model = model
        self._schemas = tuple(schemas)
        self._on_token = on_token
        self._asked = 0
        self._window = features.context_window
        self._answer_schema = None if schemas or not features.answer_schema else brief.task.output_schema
        self._open(Native() if features.native_tools or not schemas else Text())

    def _open(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.messages = prompts.opening(self._brief, dialect.protocol(self._schemas) if self._schemas else "")
        self._opening = len(self.messages)

    async def ask(self) -> Reply:
        """The next reply, which becomes part of the conversation. After `max_iter` of them, no tools are offered.

        Raises:
            ModelError: there is none; ContextTooLong if the conversation cannot, or must not, be shortened.
        """
        if self._asked == self._brief.agent.max_iter:
            self._put_tools_away()
        self._asked += 1
        answer = await self._answer()  # which may change the dialect
        reply = self._dialect.read(answer)
        if not self._schemas:
            reply = _without_tools(reply)
        self.messages.append(self._dialect.said(reply) if reply.said.strip() or reply.calls else _silence())
        return reply

    def tell(self, text: str) -> None:
        """Say something to the model."""
        self.messages.append({"role": "user", "content": text})

    def give(self, reply: Reply, results: Sequence[ToolResult]) -> None:
        """Tell the model what the tools it called gave back."""
        self.messages += self._dialect.results(reply.calls, results)

    def _put_tools_away(self) -> None:
        self._schemas = ()
        self.messages = in_words(self.messages)
        self.tell(prompts.LAST_WORD)

    async def _answer(self) -> ModelAnswer:
        shortenings = 0
        while True:
            request = self._request()
            try:
                if too_long(request.messages, request.tools, self._window) and not shortenings:
                    raise ContextTooLong(model=request.model, reason=f"its window is {self._window:,} tokens.")
                return await self._model.complete(request, self._on_token)
            except ContextTooLong:
                shortenings += 1
                if shortenings > SHORTENINGS or not await self._shorten(request):
                    raise
            except ModelRefused as refusal:
                if not self._did_without(refusal, request):
                    raise

    def _request(self) -> ModelRequest:
        llm = self._brief.agent.llm
        in_text = self._schemas and isinstance(self._dialect, Text)
        return ModelRequest(
            model=llm.model,
            messages=tuple(self.messages),
            tools=self._dialect.tools(self._schemas),
            options={"stop": [STOP], **llm.options} if in_text else llm.options,
            answer_schema=self._answer_schema,
        )

    async def _shorten(self, request: ModelRequest) -> bool:
        if not self._brief.agent.respect_context_window:
            return False
        shorter = await shortened(self.messages, self._opening, self._window, self._model, request)
        self.messages = shorter or self.messages
        return shorter is not None

    def _did_without(self, refusal: ModelRefused, request: ModelRequest) -> bool:
        """Whether there was something in the request that the provider may have refused, and that can be left out."""
        reason = str(refusal.facts["reason"]).lower()
        # Only before the first reply: to begin again later would use tools again that were used already.
        untouched = len(self.messages) == self._opening
        if request.tools and untouched and ("tool" in reason or "function" in reason):
            self._open(Text())
            return True
        if request.answer_schema and ("response_format" in reason or "schema" in reason):
            self._answer_schema = None
            return True
        return False


def _without_tools(reply: Reply) -> Reply:
    # A reply in no form at all is an answer now; one that still asks for a tool is none.
    answer = reply.answer or (reply.said if reply.problem else "")
    return Reply(said=reply.said, answer=answer, cut_off=reply.cut_off)


def _silence() -> Message:
    return {"role": "assistant", "content": prompts.NOTHING_SAID}


__all__ = ["Conversation"]
