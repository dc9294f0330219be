"""The producer of the chaos runs: `python -m tests.chaos.load FOLDER MODEL_URL SEED`.

It keeps the workers busy with runs of every kind, and writes down in FOLDER/kickoffs.jsonl what it wanted, before it asks,
and what was accepted, after it was told. Killed and started again, it asks once more, by the same key, for what it does
not know to be accepted.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crewq import Run, errors
from crewq.producer import Producer, connect
from tests.chaos.crews import crew, inputs, write_line

BACKLOG = 12  # tasks that wait for a worker: so queues have something to lose, and nothing waits long
BATCH_SIZES = (4, 12)
ACTIONS = {"chain": 35, "graph": 25, "batch": 10, "replay": 12, "charge": 8, "cancel": 10}
AWAY = (errors.StoreError, OSError)


class Kickoffs:
    """The producer's ledger, and the numbering of what it starts."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.file = folder / "kickoffs.jsonl"
        self.prefix = prefix
        self.file.touch()
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in self.file.read_text().splitlines()]
        self._number = sum(line["event"] == "wanted" and line["id"].startswith(prefix) for line in self.lines)

    def note(self, event: str, name: str, **facts: object) -> None:
        """Write a line."""
        write_line(self.file, event=event, id=name, at=time.time(), **facts)

    def new_name(self) -> str:
        """What the next kickoff is called."""
        self._number += 1
        return f"{self.prefix}{self._number}"

    def unknown(self) -> list[dict[str, Any]]:
        """The lines of what was wanted and is not known to be accepted."""
        known = {line["id"] for line in self.lines if line["event"] in ("accepted", "abandoned")}
        wanted = [line for line in self.lines if line["event"] == "wanted" and line["id"].startswith(self.prefix)]
        return [line for line in wanted if line["id"] not in known]


class Load:
    """Starts runs of all kinds until it is told to stop."""

    def __init__(self, folder: Path, url: str, seed: int) -> None:
        self.kickoffs = Kickoffs(folder, "k")
        self.random = random.Random(f"{seed} {len(self.kickoffs.lines)}")
        self.url = url
        self.producer: Producer = patiently(connect)
        self.recent: list[str] = []
        self.stopping = False

    def run(self) -> None:
        """Go on until `stopping`."""
        for line in self.kickoffs.unknown():
            self.ask_again(line["id"], line)
        while not self.stopping:
            if sum(patiently(self.producer.store.runs.waiting).values()) < BACKLOG:
                self.act(self.random.choices(list(ACTIONS), list(ACTIONS.values()))[0])
            time.sleep(0.05)

    def act(self, action: str) -> None:
        """Do one thing."""
        if action == "batch":
            size = self.random.randint(*BATCH_SIZES)
            self.batch(self.want("batch", size=size), size)
        elif action in ("replay", "cancel"):
            if self.recent:
                getattr(self, action)(self.random.choice(self.recent[-30:]))
        else:
            self.single(action, self.want(action))

    def ask_again(self, name: str, wanted: dict[str, Any]) -> None:
        """Ask for what was asked for before."""
        if wanted["kind"] == "batch":
            self.batch(name, wanted["size"])
        elif wanted["kind"] == "replay":  # takes no key, so asking again would be another
            self.kickoffs.note("abandoned", name)
        else:
            self.single(wanted["kind"], name)

    def want(self, kind: str, **facts: object) -> str:
        """Write down what is about to be asked for."""
        name = self.kickoffs.new_name()
        self.kickoffs.note("wanted", name, kind=kind, **facts)
        return name

    def single(self, kind: str, name: str) -> None:
        """Kick off one run, by a key, so that asking again is no second run."""
        run = patiently(lambda: crew(kind, self.url).kickoff_async(inputs(name), idempotency_key=name))
        self.kickoffs.note("accepted", name, run=run.id)
        self.recent.append(run.id)

    def batch(self, name: str, size: int) -> None:
        """Kick off a batch, by a key; what is in it is called `<name>.<position>`."""
        items = [inputs(f"{name}.{at}") for at in range(size)]
        fan_out = crew("item", self.url).kickoff_for_each_async
        batch = patiently(lambda: fan_out(items, max_in_flight=6, idempotency_key=name))
        self.kickoffs.note("accepted", name, batch=batch.id)

    def replay(self, parent: str) -> None:
        """Replay a run that has completed, from any of its tasks."""
        record = patiently(lambda: Run(parent, self.producer).record())
        if record.state.value != "completed":
            return
        task = self.random.choice(record.tasks)
        name = self.want("replay", of=record.crew, parent=parent, task=task.index)
        try:
            run = crew(record.crew, self.url).replay_async(task.id, inputs(name))
        except AWAY as error:
            self.kickoffs.note("abandoned", name, reason=errors.explain(error))
        else:
            self.kickoffs.note("accepted", name, run=run.id)

    def cancel(self, run: str) -> None:
        """Cancel a run."""
        cancelled = patiently(Run(run, self.producer).cancel)
        self.kickoffs.note("cancelled", run, done=cancelled)


def patiently(ask: Callable[[], Any]) -> Any:
    """Ask until Redis is there."""
    while True:
        try:
            return ask()
        except AWAY:
            time.sleep(0.1)


def main(folder: Path, url: str, seed: int) -> None:
    """Produce until SIGTERM."""
    load = Load(folder, url, seed)

    def stop(*_: object) -> None:
        load.stopping = True

    signal.signal(signal.SIGTERM, stop)
    load.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
