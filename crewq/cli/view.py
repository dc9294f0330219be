"""What a person sees of runs under way: built from their events, shown as a live table or told in plain lines."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crewq.cli.phrases import counted, duration, money, seconds_between, short, tokens
from crewq.cli.story import Story
from crewq.events import CallFinished, CallStarted, Event, RunPaused, TaskStarted, Token
from crewq.outputs import UsageMetrics
from crewq.producer import Producer

READ_SECONDS = 0.1  # how long one look at the events waits for a new one, and so how often the picture is drawn
TICKS_SHOWN, BAR_WIDTH = 16, 40
SAID_SHOWN = 100  # characters of what a model is just saying
ENDED, GONE = ("completed", "failed", "cancelled"), "gone"
STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
MARKS = {("model", True): "●", ("model", False): "○", ("tool", True): "◆", ("tool", False): "◇"}
LEGEND = "● answer of the model   ◆ result of a tool   ○ ◇ under way"


@dataclass
class Call:
    """A call to a model or a tool; one that was `reused` was answered from the journal."""

    kind: str
    name: str
    finished: bool = False
    reused: bool = False


@dataclass
class Line:
    """A run as one line of the view."""

    story: Story
    after: str = "0-0"
    task: int | None = None
    calls: dict[str, Call] = field(default_factory=dict)
    usage: UsageMetrics = field(default_factory=UsageMetrics)
    state: str = "queued"
    waits: str = ""  # why it is paused
    said: str = ""  # the end of what a model is just saying, in a run that streams

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.story.record.id

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.state in (*ENDED, GONE)

    def take(self, event: Event) -> None:
        """Take note of what happened."""
        self.after = event.id
        if event.type.startswith("run_"):
            word = event.type.removeprefix("run_")
            self.state = "running" if word in ("started", "resumed") else word
            self.waits = event.reason if isinstance(event, RunPaused) else ""
        if isinstance(event, TaskStarted):
            self.task, self.state = event.task, "running"
        elif isinstance(event, CallStarted):
            self.calls[event.call] = Call(event.kind, event.name)
        elif isinstance(event, CallFinished):
            self.calls[event.call] = Call(event.kind, event.name, finished=True, reused=event.reused)
            self.usage += event.usage or UsageMetrics()
        elif isinstance(event, Token) and not event.tool:
            self.said = f"{self.said if event.offset else f'{event.agent}: '}{event.text}"[-SAID_SHOWN:]

    @property
    def where(self) -> str:
        """The task at work: `2/3 report`."""
        names = self.story.record.tasks
        return "" if self.task is None else f"{self.task + 1}/{len(names)} {names[self.task].name}"

    @property
    def agent(self) -> str:
        """The role of the agent at work."""
        return "" if self.task is None else self.story.agent(self.task)

    @property
    def ticks(self) -> str:
        """A mark for each call, the latest at the end."""
        marks = [MARKS[call.kind, call.finished] for call in self.calls.values()]
        return ("…" if len(marks) > TICKS_SHOWN else "") + "".join(marks[-TICKS_SHOWN:])

    def made(self, kind: str) -> int:
        """How many calls of a kind were really made."""
        return sum(call.kind == kind and call.finished and not call.reused for call in self.calls.values())


class View(ABC):
    """Follows runs, however many."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether all has ended."""

    @property
    @abstractmethod
    def begun(self) -> bool:
        """Whether a worker has taken anything up."""

    @property
    def paused(self) -> list[tuple[str, str]]:
        """The runs that wait for a person, each with the reason, as far as it shows single runs."""
        return []

    @abstractmethod
    def read(self) -> list[str]:
        """Take in what happened since, waiting a moment for it; answers it in plain lines."""

    @abstractmethod
    def __rich__(self) -> RenderableType:
        """The picture."""

    @property
    def elapsed(self) -> float:
        """Seconds since it was first looked at."""
        return time.monotonic() - self._since


class FewRuns(View):
    """A line for each run."""

    def __init__(self, producer: Producer, runs: Sequence[str]) -> None:
        super().__init__()
        self._runs = producer.store.runs
        self.lines = [Line(story) for story in Story.of_all(producer, runs)]

    @property
    def over(self) -> bool:
        return all(line.over for line in self.lines)

    @property
    def begun(self) -> bool:
        return any(line.state != "queued" for line in self.lines)

    @property
    def paused(self) -> list[tuple[str, str]]:
        return [(line.id, line.waits) for line in self.lines if line.state == "paused"]

    def read(self) -> list[str]:
        told: list[str] = []
        wait = READ_SECONDS
        for line in [line for line in self.lines if not line.over]:
            events = self._runs.events(line.id, line.after, wait=wait)
            for event in events:
                line.take(event)
                told.extend(_told(line, event))
            self._settle(line, silent=not events)
            wait = 0.0
        return told

    def _settle(self, line: Line, *, silent: bool) -> None:
        """Where nothing is said, or the end is, ask: it may have been trimmed, or the run resumed after it. Once it has
        ended, what the record says counts."""
        if silent or line.over:
            line.state = self._runs.state(line.id) or GONE
        if line.over and line.state != GONE:
            line.story.record = self._runs.read(line.id)
            line.usage = line.story.record.usage

    def __rich__(self) -> RenderableType:
        caption = "\n".join([LEGEND, *(_plain(line.waits) for line in self.lines if line.waits)])
        table = Table(box=None, pad_edge=False, header_style="dim", caption=caption, caption_justify="left")
        for name in ("run", "crew", "task", "agent", "calls"):
            table.add_column(name, no_wrap=True)
        for name in ("tokens", "cost", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("")
        for line in self.lines:
            record = line.story.record
            time_ = duration(seconds_between(record.started or record.created, record.ended))
            state = f"[{STYLES.get(line.state, 'dim')}]{line.state}[/]"
            about = (short(line.id), record.crew, line.where, line.agent, line.ticks)
            table.add_row(*map(_plain, about), tokens(line.usage), money(line.usage), time_, state)
        saying = [(short(line.id), " ".join(line.said.split())) for line in self.lines if line.said and not line.over]
        return Group(table, *(Text(f"{name}  {said}", style="dim", no_wrap=True) for name, said in saying))


class ManyRuns(View):
    """A bar for a whole batch."""

    def __init__(self, producer: Producer, batch: str) -> None:
        super().__init__()
        self._store = producer.store
        self._batch = batch
        self._after = "0-0"
        self._usage = UsageMetrics()
        self._ended: Counter[str] = Counter()
        self._total = producer.store.batches.read(batch).total
        self._first = producer.store.batches.runs(batch)[0]
        self._under_way = 0

    @property
    def over(self) -> bool:
        return self._ended.total() >= self._total

    @property
    def begun(self) -> bool:
        return bool(self._ended) or self._store.runs.state(self._first) != "queued"

    def read(self) -> list[str]:
        ended = self._store.batches.ended(self._batch, self._after, wait=READ_SECONDS)
        told: list[str] = []
        if ended:
            self._after = ended[-1][0]
            for run in self._store.runs.overview([run for _, _, run in ended]):
                self._ended[run.state.value] += 1
                self._usage += run.usage
                if run.state.value != "completed":
                    told.append(f"{short(run.id)}  {run.state.value}: {run.error or 'cancelled'}".splitlines()[0])
            if self.over:
                told.append(f"{short(self._batch)}  {self.summary}")
        self._under_way = self._total - self._ended.total() - self._store.batches.held(self._batch)
        return told

    def __rich__(self) -> RenderableType:
        picture = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._total, completed=self._ended.total(), width=BAR_WIDTH)
        picture.add_row(f"batch {short(self._batch)}", bar, self.summary)
        return picture

    @property
    def summary(self) -> str:
        """The counters, in words."""
        parts = [f"{self._ended['completed']}/{self._total} completed"]
        parts += [f"{self._ended[state]} {state}" for state in ("failed", "cancelled") if self._ended[state]]
        if not self.over:
            parts.append(f"{self._under_way} under way")
        return ", ".join([*parts, f"{tokens(self._usage)} tokens", money(self._usage)])


def _told(line: Line, event: Event) -> Iterator[str]:
    """What happened, for a log; calls are only counted."""
    name = short(line.id)
    task = "" if event.task is None else line.story.record.tasks[event.task].name
    if isinstance(event, TaskStarted):
        yield f"{name}  task {event.task + 1 if event.task is not None else ''} {task}: started by {line.agent}"
    elif event.type in ("task_completed", "task_skipped", "task_failed", "task_requeued", "task_warned", "task_paused"):
        reason = getattr(event, "reason", "")
        yield f"{name}  task {task}: {event.type.removeprefix('task_')}{f' ({reason})' if reason else ''}"
    elif isinstance(event, RunPaused):
        yield f"{name}  paused"
    elif event.terminal:
        calls = f"{counted(line.made('model'), 'model call')}, {counted(line.made('tool'), 'tool call')}"
        yield f"{name}  {event.type.removeprefix('run_')}: {calls}, {tokens(line.usage)} tokens, {money(line.usage)}"


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


__all__ = ["Call", "FewRuns", "Line", "ManyRuns", "View"]
