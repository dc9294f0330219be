"""The crews of the chaos runs: what they ask for says which run, task and call it is, so a ledger can tell.

A prompt begins with `#<input id>/t<task>#`. The model server plays what stands in `[[...]]`, and numbers its answers, so
an answer that was paid for twice is another text. Tools write to a ledger of their own when they begin and when they end.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from pathlib import Path

from crewq import LLM, Agent, BaseTool, Crew, Task, tool

TOOL_SECONDS = 0.2
RELEASE = os.environ.get("CHAOS_RELEASE", "0")  # of this code: each says something else of a tool
MODEL_TIMEOUT = 6.0  # seconds: a server that hangs is given up, and asked again
HUSH = "hush-"  # begins the input that nobody but the model may see


def write_line(path: Path, **facts: object) -> None:
    """Append a line of JSON: one write, so it is whole, whoever else appends and whoever dies."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(facts).encode() + b"\n")


def _do(name: str, who: str) -> str:
    ledger, call = Path(os.environ["CHAOS_TOOLS"]), f"{os.getpid()}-{time.monotonic_ns()}"
    worker = os.environ["OPENAI_API_KEY"]
    write_line(ledger, event="started", call=call, name=name, who=who, key=worker, at=time.clock_gettime(0))
    time.sleep(TOOL_SECONDS)
    write_line(ledger, event="finished", call=call, at=time.clock_gettime(0))
    return f"{name} for {who} ({call})"


@tool("note")
def note(who: str) -> str:
    """Takes a note, which may be taken again."""
    return _do("note", who)


note.description += f" Release {RELEASE}."


@tool("charge", idempotent=False)
def charge(who: str) -> str:
    """Charges somebody, which must not be repeated."""
    return _do("charge", who)


@tool("leave")
def leave(who: str) -> str:
    """Ends the process without a word."""
    os._exit(70)


@tool("crash")
def crash(who: str) -> str:
    """Reads where no memory is."""
    return ctypes.string_at(0).decode()


@tool("devour")
def devour(who: str) -> str:
    """Takes all the memory that the process may have, for a moment."""
    hoard: list[bytearray] = []
    ledger, worker = Path(os.environ["CHAOS_TOOLS"]), os.environ["OPENAI_API_KEY"]
    write_line(ledger, event="starved", call=who, key=worker, at=time.clock_gettime(0))
    try:
        while True:
            hoard.append(bytearray(64 * 2**20))
    except MemoryError:
        time.sleep(TOOL_SECONDS)
    pieces = len(hoard)
    hoard.clear()
    write_line(ledger, event="fed", call=who, key=worker, at=time.clock_gettime(0))
    return f"devoured {pieces} pieces for {who}"


# By kind, for each task: the tool that it uses, and whether it is an async one.
SHAPES: dict[str, tuple[tuple[BaseTool | None, bool], ...]] = {
    "chain": ((None, False), (note, False), (None, False)),
    "graph": ((None, False), (None, True), (note, True), (None, False)),
    "item": ((None, False), (None, False)),
    "charge": ((None, False), (charge, False)),
    "leave": ((None, False), (leave, False)),
    "crash": ((None, False), (crash, False)),
    "devour": ((None, False), (devour, False)),
}
POISON = ("leave", "crash")  # these can only end failed


def model_calls(kind: str) -> int:
    """How many answers of the model a run of this kind needs."""
    return sum(2 if tool else 1 for tool, _ in SHAPES[kind])


def crew(kind: str, url: str) -> Crew:
    """A crew of that kind, which asks the model server at `url`."""
    llm = LLM(model="openai/chaos", base_url=url, timeout=MODEL_TIMEOUT)
    agent = Agent(role="Tester", goal="Be counted", backstory="You do as you are told.", llm=llm)
    tasks = [_task(kind, at, agent) for at in range(len(SHAPES[kind]))]
    return Crew(name=kind, agents=[agent], tasks=tasks)


def _task(kind: str, at: int, agent: Agent) -> Task:
    tool, is_async = SHAPES[kind][at]
    who = f"{{id}}/t{at}"
    call = f'[[call {tool.public_name} {{"who": "{who}"}}]] ' if tool else ""
    return Task(
        name=f"t{at}",
        description=f"#{who}# {{secret}} {call}[[say {kind} {who}]]",
        expected_output="What you are told to say.",
        agent=agent,
        tools=[tool] if tool else [],
        async_execution=is_async,
    )


def inputs(name: str) -> dict[str, str]:
    """The inputs of the run that is called `name` in all ledgers."""
    return {"id": name, "secret": HUSH + name}
