"""What the tests of the agent share: a brief, tools, and a model that records what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crewq.agent import Brief, Toolbox, invoke_directly
from crewq.model import Features, ModelAnswer, ModelRequest, OnToken, ToolCall
from crewq.spec import AgentSpec, LLMSpec, TaskSpec
from crewq.tools import BaseTool, tool

THREADS = ThreadPoolExecutor(4, thread_name_prefix="tool")


def brief(context: str = "", task: dict[str, Any] | None = None, **agent: Any) -> Brief:
    """A task to research crews; keywords change its agent."""
    standard: dict[str, Any] = {
        "role": "a researcher",
        "goal": "true answers",
        "backstory": "You read a lot.",
        "llm": LLMSpec(model="fake/model"),
    }
    return Brief(
        agent=AgentSpec(**(standard | agent)),
        task=TaskSpec(**({"key": "t", "description": "Count the crews.", "agent": 0} | (task or {}))),
        context=context,
    )


def toolbox(*tools: BaseTool) -> Toolbox:
    return Toolbox(tools, invoke_directly(THREADS))


@tool
def search(query: str) -> str:
    """Look something up."""
    return f"found {query}"


def wants(*calls: tuple[str, str], text: str = "") -> ModelAnswer:
    """An answer that calls tools; each is a name and the JSON text of its arguments."""
    made = tuple(ToolCall(id=f"c{at}", name=name, arguments=arguments) for at, (name, arguments) in enumerate(calls))
    return ModelAnswer(text=text, tool_calls=made, finish_reason="tool_calls")


Said = str | ModelAnswer | Exception


class FakeModel:
    """Gives its answers one after another, and keeps the requests. An exception among them is raised."""

    def __init__(self, *answers: Said, features: Features | None = None) -> None:
        self.requests: list[ModelRequest] = []
        self._answers = deque(answers)
        self._features = features or Features()

    def features(self) -> Features:
        return self._features

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        self.requests.append(request)
        answer = self._answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, ModelAnswer) else ModelAnswer(text=answer)

    @property
    def told(self) -> str:
        """The content of the last message that it was sent."""
        return str(self.requests[-1].messages[-1]["content"])


Responder = Callable[[ModelRequest], ModelAnswer]


class RespondingModel(FakeModel):
    """Answers by a function of the request."""

    def __init__(self, respond: Responder, features: Features | None = None) -> None:
        super().__init__(features=features)
        self._respond = respond

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        self.requests.append(request)
        return self._respond(request)


def roles(request: ModelRequest) -> Sequence[str]:
    return [message["role"] for message in request.messages]
