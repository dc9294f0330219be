"""Tools in the shape that LangChain and CrewAI give theirs, without either: those frameworks are never installed here."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, Field

from crewq.tools import BaseTool
from tests.unit.parts import Multiply


class Words(BaseModel):
    text: str
    times: int = 1


class ChainTool(BaseModel):
    """As LangChain's: called with one dict, which it looks at itself."""

    name: str
    description: str
    args_schema: Any = None
    return_direct: bool = False

    def _run(self, *args: Any, config: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def _arun(self, *args: Any, config: Any, **kwargs: Any) -> Any:
        return self._run(*args, config=config, **kwargs)

    def invoke(self, given: dict[str, Any]) -> Any:
        return self._run(config=None, **given)

    async def ainvoke(self, given: dict[str, Any]) -> Any:
        return await self._arun(config=None, **given)


class Structured(ChainTool):
    """As its StructuredTool."""

    func: Callable[..., Any] | None = Field(default=None, exclude=True)
    coroutine: Callable[..., Awaitable[Any]] | None = Field(default=None, exclude=True)

    def _run(self, *args: Any, config: Any, **kwargs: Any) -> Any:
        assert self.func
        return self.func(*args, **kwargs)

    async def _arun(self, *args: Any, config: Any, **kwargs: Any) -> Any:
        return await self.coroutine(*args, **kwargs) if self.coroutine else self._run(*args, config=config, **kwargs)


def structured(function: Callable[..., Any]) -> Structured:
    return Structured(name=function.__name__, description=function.__doc__ or "", args_schema=Words, func=function)


@structured
def repeat(text: str, times: int = 1) -> str:
    """Repeat a text."""
    return text * times


async def _later(text: str, times: int = 1) -> str:
    return text * times


later = Structured(name="later", description="Repeat a text, later.", args_schema=Words, coroutine=_later)
one_off = Structured(name="One Off", description="D", args_schema=Words, func=lambda text, times=1: text * times)


class OneText(Structured):
    """As its Tool: one text, whatever the function calls it."""

    @property
    def args(self) -> dict[str, Any]:
        return {"tool_input": {"type": "string"}}

    def _run(self, *args: Any, config: Any, **kwargs: Any) -> Any:
        assert self.func
        return self.func(*args, *kwargs.values())


one_text = OneText(name="one text", description="D", func=lambda query: query * 2)


class Greeter(ChainTool):
    """A class of somebody's own, as there are many."""

    name: str = "greeter"
    description: str = "Greets."
    args_schema: Any = Words
    greeting: str = "Hello"

    def _run(self, text: str, times: int = 1, config: Any = None) -> str:
        return f"{self.greeting}, {text}" * times


class ByJson(Greeter):
    """Described by a JSON schema, as those of LangChain's adapters for MCP are."""

    args_schema: Any = Field(default_factory=lambda: {"properties": {"text": {"type": "string"}}, "required": ["text"]})


class TrewTool(BaseModel):
    """As CrewAI's: arguments by name, and a description that says more than was written."""

    name: str
    description: str
    args_schema: Any = None
    result_as_answer: bool = False
    max_usage_count: int | None = None
    current_usage_count: int = 0
    cache_function: Any = None

    def model_post_init(self, context: Any) -> None:
        self.description = f"Tool Name: {self.name}\nTool Arguments: {{}}\nTool Description: {self.description}"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.current_usage_count += 1
        return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class Scraper(TrewTool):
    name: str = "Scrape It"
    description: str = "Reads a page."
    args_schema: Any = Words
    site: str | None = None
    api_key: str | None = Field(default_factory=lambda: os.environ.get("SCRAPER_API_KEY"))

    def __init__(self, site: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if site:
            self.site = site
            self.description = f"Reads {site}."

    def _run(self, text: str, times: int = 1) -> str:
        return f"{self.site} {text} {times}"


class Plain:
    """No pydantic at all."""

    name = "plain"
    description = "Says a text."

    def run(self, text: str) -> str:
        return text


plain = Plain()


class Limits(BaseModel):
    number: int = Field(le=10)


class Odd(Multiply):
    """One of crewq's own, whose class does not say all of it."""


limited: BaseTool = Odd(args_schema=Limits)
