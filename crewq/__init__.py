"""CrewAI-style crews as durable Celery jobs: nothing lost, nothing paid twice, any run replayed from any task."""

from typing import Any

from crewq import errors, lacking
from crewq.alone import Agent, ConditionalTask, Task
from crewq.batch import Batch
from crewq.crew import Crew
from crewq.errors import CrewqError
from crewq.language_model import LLM
from crewq.model import BaseLLM
from crewq.outputs import CrewOutput, LiteAgentOutput, TaskOutput, UsageMetrics
from crewq.run import Run
from crewq.schedules import schedule
from crewq.spec import Process
from crewq.stream import CrewStreamingOutput, StreamChunk
from crewq.tools import BaseTool, tool

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "Agent",
    "BaseLLM",
    "BaseTool",
    "Batch",
    "ConditionalTask",
    "Crew",
    "CrewOutput",
    "CrewStreamingOutput",
    "CrewqError",
    "LiteAgentOutput",
    "Process",
    "Run",
    "StreamChunk",
    "Task",
    "TaskOutput",
    "UsageMetrics",
    "schedule",
    "tool",
]


def __getattr__(name: str) -> Any:
    """A name of CrewAI's module that is not here says what to do instead."""
    if name in lacking.NAMES:
        raise errors.UnsupportedName(name=name, advice=lacking.NAMES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
