"""What CrewAI's objects have and crewq's do not: fields, methods and arguments, each with what to do instead.

A field of these that asks for something is an error where the object is made, a method where it is looked up, and an
argument where it is passed; `crewq migrate` lists their uses by file and line. So it does with the fields that are taken and
have no effect: those that CrewAI takes for the sake of old code (its own word is "deprecated") and that change how an answer
comes about, but not what is asked for. Each of them is a warning where the object is made.
"""

from __future__ import annotations

from typing import Final

OF_A_CREW: Final = {
    "embedder": "there are no embeddings: knowledge is found by its words.",
    "config": "pass its entries as fields: Crew(**config).",
    "prompt_file": "use system_template and prompt_template of the agents.",
    "knowledge": "pass its sources: knowledge_sources=[...].",
    "share_crew": "crewq sends nothing anywhere.",
    "chat_llm": "it belongs to `crewai chat`.",
    "tracing": "`crewq show` and Flower tell what happened.",
    "skills": "give the agents tools.",
    "security_config": "it belongs to CrewAI's own platform.",
    "trained_agents_file": "it belongs to training: write into the backstory what the agents are to mind.",
    "tool_failure_policy": "a failing tool is reported to the model, which decides.",
    "task_execution_output_json_files": "every output is kept anyway: `crewq show --json`.",
    "execution_logs": "follow a run with run.events(), or read `crewq show`.",
}

OF_AN_AGENT: Final = {
    "knowledge": "pass its sources: knowledge_sources=[...].",
    "embedder": "there are no embeddings: knowledge is found by its words.",
    "planning": "write a first task that plans, and give it as context.",
    "planning_config": "write a first task that plans.",
    "callbacks": "use step_callback.",
    "apps": "give the agent tools for them.",
    "a2a": "give the agent a tool that calls the other agent.",
    "from_repository": "write the agent out.",
    "max_tokens": "set it in LLM(max_tokens=...).",
    "executor_class": "crewq has one agent loop.",
    "checkpoint": "every call is kept already, without it.",
    "security_config": "it belongs to CrewAI's own platform.",
    "skills": "write them into the backstory, or give the agent a tool.",
    "i18n": "use system_template and prompt_template.",
}

# Fields that take True, False or None, and what to do where CrewAI's take an object too.
SWITCHES: Final = {
    "memory": "set memory=True: the outputs of the crew's earlier runs are its memory, and there is no object for it.",
}

# Without an effect, and what to do instead.
_CALLED_BY: Final = "{} makes the calls of its tools itself: leave it out."
IGNORED_OF_A_CREW: Final = {
    "function_calling_llm": _CALLED_BY.format("each agent's llm"),
    "checkpoint": "every call is kept already, and crew.resume(run_id) goes on from the last.",
}
IGNORED_OF_AN_AGENT: Final = {
    "reasoning": "for a plan of all tasks, set Crew(planning=True); for a model that thinks first, LLM(reasoning_effort=...).",
    "max_reasoning_attempts": "it belongs to reasoning: leave it out.",
    "function_calling_llm": _CALLED_BY.format("the agent's llm"),
    "multimodal": "give the agent a tool that looks at the images.",
}

OF_A_TASK: Final = {
    "converter_cls": "use output_pydantic.",
    "response_model": "use output_pydantic.",
    "input_files": "pass the text of the files as an input.",
    "security_config": "it belongs to CrewAI's own platform.",
    "allow_crewai_trigger_context": "it belongs to CrewAI's own platform.",
    "tool_failure_policy": "a failing tool is reported to the model, which decides.",
}

OF_AN_LLM: Final = {
    "callbacks": "set litellm's callbacks where the workers run.",
    "stream": "set it for the crew: Crew(stream=True).",
    "n": "an agent goes on from one answer.",
    "logprobs": "no agent looks at them.",
    "top_logprobs": "no agent looks at them.",
    "response_format": "use output_pydantic or output_json of the task.",
    "thinking": "set reasoning_effort, which litellm puts into each provider's own form.",
    "context_window_size": "litellm knows it of most models, and where a provider says that it is passed, that is heeded.",
    "is_litellm": "every model is asked by litellm: leave it out.",
    "provider": "put it before the model's name: LLM(model='provider/model').",
    "max_retries": "a call that failed for the moment is tried again anyway.",
    "organization": "set OPENAI_ORGANIZATION where the workers run.",
    "project": "set OPENAI_PROJECT_ID where the workers run.",
    "default_headers": "set them in additional_params={'extra_headers': {...}}.",
    "client_params": "set what litellm takes in additional_params.",
    "api": "name it in the model: LLM(model='openai/responses/...').",
}

# -- methods and properties ------------------------------------------------------------------------------------

_INNER: Final = "it is a part of CrewAI's agent loop, which crewq's does without."

METHODS_OF_A_CREW: Final = {
    "train": "write into the tasks and backstories what the agents are to mind; `crewq test` measures whether it helps.",
    "test": "`crewq test module:crew --runs 3` tells pass rate, time and cost; --judge MODEL adds scores.",
    "reset_memories": "a crew remembers what its runs put out, for as long as they are kept: `crewq delete RUN` forgets one.",
    "query_knowledge": "give the agents a tool that searches it.",
    "from_checkpoint": "every call is kept already: crew.resume(run_id) and crew.replay(task_id) go on from there.",
    "fork": "crew.replay(task_id, outputs={...}) begins another run in the middle of one that was.",
    "fingerprint": "runs are told apart by their ids.",
}
METHODS_OF_AN_AGENT: Final = {
    "message": "agent.kickoff(text) gives the answer as its `raw`.",
    "last_messages": "an output has the conversation that led to it: output.tasks_output[0].messages.",
    "set_cache_handler": "set Crew(cache=True); a tool's cache_function says which results are kept.",
    "set_rpm_controller": "set max_rpm.",
    "create_agent_executor": _INNER,
    "get_delegation_tools": _INNER,
    "fingerprint": "runs are told apart by their ids.",
}
METHODS_OF_A_TASK: Final = {
    "fingerprint": "runs are told apart by their ids.",
}
METHODS_OF_A_TOOL: Final = {
    "current_usage_count": "it is counted for each task by itself: output.tasks_output[0].effort.used_tools.",
    "reset_usage_count": "it is counted for each task by itself, from nothing.",
    "to_structured_tool": "give the agent the tool itself.",
    "from_langchain": "give the agent LangChain's tool itself: Agent(tools=[it]).",
    "result_schema": "say in the docstring what it gives back.",
    "env_vars": "it reads the environment of the worker: say in the docstring which variables.",
    "tool_failure_policy": "a failing tool is reported to the model, which decides.",
}
# -- names that CrewAI's module has --------------------------------------------------------------------------

NAMES: Final = {
    "Flow": "keep it, and crewai installed: its steps can kick off crews of crewq's. Or write the steps in Python.",
    "Memory": SWITCHES["memory"],
    "Knowledge": "pass its sources: Agent(knowledge_sources=[...]).",
    "LLMGuardrail": "give the criterion itself, in words: Task(guardrail='...').",
    "CheckpointConfig": METHODS_OF_A_CREW["from_checkpoint"],
    "PlanningConfig": "for a plan of all tasks, set Crew(planning=True).",
}

# -- commands --------------------------------------------------------------------------------------------------

COMMANDS: Final = {
    "create": "`crewq new NAME` makes a project.",
    "install": "install the project with pip or uv.",
    "update": "update the project with pip or uv.",
    "train": METHODS_OF_A_CREW["train"],
    "reset-memories": "`crewq delete RUN` forgets a run.",
    "chat": "`crewq run module:crew --input name=...` asks a crew once.",
    "checkpoint": "every call is kept already: `crewq resume RUN` and `crewq replay -t TASK` go on from there.",
    "traces": "`crewq show RUN` and Flower tell what happened.",
    "deploy": "it belongs to CrewAI's own platform: docs/operations.md has ways to run a fleet.",
    "login": "there is no platform to log in to.",
}

# -- arguments -------------------------------------------------------------------------------------------------

OF_A_KICKOFF: Final = {
    "input_files": "pass the text of the files as an input.",
    "from_checkpoint": METHODS_OF_A_CREW["from_checkpoint"],
}

__all__ = [
    "COMMANDS",
    "IGNORED_OF_AN_AGENT",
    "IGNORED_OF_A_CREW",
    "METHODS_OF_AN_AGENT",
    "METHODS_OF_A_CREW",
    "METHODS_OF_A_TASK",
    "METHODS_OF_A_TOOL",
    "NAMES",
    "OF_AN_AGENT",
    "OF_AN_LLM",
    "OF_A_CREW",
    "OF_A_KICKOFF",
    "OF_A_TASK",
    "SWITCHES",
]
