"""Tools, callbacks and models that stand under their own names, so that they can travel; and crews made of them."""

from __future__ import annotations

import os
from os import popen
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from crewq.freeze import Plan
from crewq.members import Agent, Task
from crewq.model import BaseLLM
from crewq.outputs import TaskOutput
from crewq.references import Imports
from crewq.settings import Settings
from crewq.spec import Process
from crewq.tools import BaseTool, tool

HERE = "tests.unit.parts"
IMPORTS = Imports((HERE,))
EMBEDDED = Settings()
REMOTE = Settings(redis_url="redis://:hidden@server:6379/0")
BORROWED = (os, popen)  # names that lead out of this module


@tool
def search(query: str, limit: int = 5) -> str:
    """Search the web."""
    return f"{limit} results for {query}"


@tool("Search, the Other")
def other(query: str) -> str:
    """Search elsewhere."""
    return query


@tool("search")
def impostor(query: str) -> str:
    """Is called as another."""
    return query


class Multiply(BaseTool):
    name: str = "Multiply"
    description: str = "Multiplies."
    factor: int = 2
    labels: list[str] = Field(default_factory=list)

    def _run(self, number: int) -> int:
        return number * self.factor


class Keyed(Multiply):
    token: SecretStr


class Holding(Multiply):
    thing: Any = None


class Report(BaseModel):
    title: str
    points: list[str] = Field(default_factory=list)


class Model(BaseLLM):
    model: str = "my-model"
    level: int = 1

    def call(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
        return f"{len(messages)} at {self.level}"


class KeyedModel(Model):
    token: SecretStr


class HoldingModel(Model):
    thing: Any = None


class Nested:
    class Multiply(Multiply):
        pass


def told(output: TaskOutput) -> None:
    """A callback."""


async def told_later(output: TaskOutput) -> None:
    """A callback that is a coroutine."""


class Listener:
    def __call__(self, output: TaskOutput) -> None: ...

    def method(self, output: TaskOutput) -> None: ...


def agent(role: str = "Writer", **fields: Any) -> Agent:
    return Agent(**{"role": role, "goal": "write", "backstory": "old", "llm": "openai/gpt-4o"} | fields)


def task(description: str = "Write.", by: Agent | None = None, **fields: Any) -> Task:
    return Task(**{"description": description, "agent": by or WRITER} | fields)


def plan(*tasks: Task, **changes: Any) -> Plan:
    standard = dict.fromkeys(Plan._fields) | {
        "name": "demo",
        "agents": [],
        "tasks": tasks,
        "process": Process.sequential,
    }
    return Plan(**standard | {"verbose": False, "cache": False} | changes)


WRITER = agent()
