"""One task carried out by one agent, in this process. Nothing in here knows of Redis or Celery."""

from crewq.agent.brief import Answer, Brief, Step
from crewq.agent.delegation import Coworker, Delegation, Equipment, delegation_tools
from crewq.agent.fallback import FallbackModel, put_to
from crewq.agent.guardrails import Guardrails, Judge, Verdict, judged_by
from crewq.agent.llm import LiteLLMModel, Provider, account_of, build_model, close_litellm, load_litellm
from crewq.agent.loop import OnStep, perform
from crewq.agent.mcp_client import Connection, McpTool, Offer, load_mcp
from crewq.agent.prompts import planned, remembered
from crewq.agent.retry import RetryingModel
from crewq.agent.review import Check, Unfit
from crewq.agent.search import found
from crewq.agent.toolbox import Invoke, Toolbox, ToolResult, call_in, invoke_directly
from crewq.agent.watchers import add_watchers
from crewq.agent.window import estimate

__all__ = [
    "Answer",
    "Brief",
    "Check",
    "Connection",
    "Coworker",
    "Delegation",
    "Equipment",
    "FallbackModel",
    "Guardrails",
    "Invoke",
    "Judge",
    "LiteLLMModel",
    "McpTool",
    "Offer",
    "OnStep",
    "Provider",
    "RetryingModel",
    "Step",
    "ToolResult",
    "Toolbox",
    "Unfit",
    "Verdict",
    "account_of",
    "add_watchers",
    "build_model",
    "call_in",
    "close_litellm",
    "delegation_tools",
    "estimate",
    "found",
    "invoke_directly",
    "judged_by",
    "load_litellm",
    "load_mcp",
    "perform",
    "planned",
    "put_to",
    "remembered",
]
