"""A run that goes on while what it stands on is killed or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from crewq import LLM
from tests.integration.crews import crew
from tests.model_server import ModelServer, text
from tests.waiting import until

HASTY = "tests.integration.hasty_app"
TEXTS = ("Read", "Think", "Write")


def carried_over(server: ModelServer, change: Callable[[], object], switched: Callable[[], bool]) -> None:
    """A run goes on while the master is changed: each of its questions is asked once, and its end is told."""
    before = len(server.ledger)
    llm = LLM(model="openai/any", base_url=server.url)
    server.enqueue("Read it.", replace(text("Thought."), latency=1.0))
    run = crew(*TEXTS, llm=llm).kickoff_async()
    waiting = ThreadPoolExecutor(1).submit(run.result, 60)
    server.ledger.wait_for(lambda made: len(made) == before + 2)
    change()
    assert waiting.result(60).raw
    until(switched, 20)  # a sentinel leaves a former master alone for some 8 s
    asked = Counter(made.prompt.removeprefix("Your task:\n").splitlines()[0] for made in server.ledger[before:])
    assert asked == Counter(TEXTS)
    assert run.async_result.get(timeout=30) == {"run": run.id, "state": "completed"}
    batch = crew(*TEXTS).kickoff_for_each_async([{"x": n} for n in range(5)])
    assert len(batch.results(30)) == 5


__all__ = ["HASTY", "TEXTS", "carried_over"]
