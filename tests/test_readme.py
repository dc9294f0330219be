"""What the documentation shows is run as it is shown; CONTRIBUTING.md has the rules."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT, Block, blocks, for_a_cluster, in_containers
from tests.waiting import until

BIN = Path(sys.executable).parent
SHOWN = {page.name: blocks(page) for page in PAGES}
SECTIONS = sorted(
    {
        (page, block.section)
        for page, shown in SHOWN.items()
        for block in shown
        if block.section not in in_containers(shown) | for_a_cluster(shown)
    }
)
OWN_REDIS = "redis://localhost:6379/0"

SERVICES = ("worker", "beat", "flower", "metrics")  # commands of crewq's that run until they are stopped

# Lines that are not run here, and why. Each must be there to be left out.
NOT_RUN = {
    "./run test": "it is what runs this",
    "./run check": "it is a part of ./run test",
}


class Machine:
    """A bare machine: an empty home and directory, the clone's own Python, and no variable set."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        self.redis_url = redis_url
        self.env = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(directory / "home")}
        self.services: list[subprocess.Popen[bytes]] = []
        self.workers = 0
        Path(self.env["HOME"]).mkdir()
        for name in ("examples", "workers"):
            (directory / name).symlink_to(ROOT / name)

    def run(self, *command: str) -> str:
        """What a command prints; any failure, and any word on stderr of a Python program, fails the test."""
        done = subprocess.run(command, cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run_line(self, line: str) -> None:
        """Run a line of sh."""
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.env[name] = value.replace(OWN_REDIS, self.redis_url)
        elif words[0] == "celery" or (words[:1] == ["crewq"] and words[1] in SERVICES and "--once" not in words):
            self._start(line)
        else:
            self._until_workers_are_ready()
            self.run("/bin/sh", "-c", self._with_ids(re.sub(r"^\./run ", "crewq ", line)))

    def _with_ids(self, line: str) -> str:
        ids = {
            "RUN": lambda: json.loads(self.run("crewq", "runs", "--json", "--limit=1"))[0]["run"],
            "TASK_ID": lambda: json.loads(self.run("crewq", "log-tasks-outputs", "--json"))[-1]["id"],
        }
        return re.sub(r"\b(RUN|TASK_ID)\b", lambda found: ids[found[0]](), line)

    # -- what runs until it is stopped

    def _start(self, line: str) -> None:
        port = _free_port()
        listens = " flower" in line or " metrics" in line
        command = f"exec {line} --port={port}" if listens else f"exec {line}"
        self.services.append(subprocess.Popen(["/bin/sh", "-c", command], cwd=self.directory, env=self.env))
        if listens:
            until(lambda: _answers(f"http://127.0.0.1:{port}/"), seconds=30)
        elif " beat" not in line:
            self.workers += 1

    def _until_workers_are_ready(self) -> None:
        if self.workers:
            until(lambda: f"{self.workers} answer: " in self.run("crewq", "doctor"), seconds=60)

    def stop(self) -> None:
        """Stop all that was started."""
        for service in self.services:
            service.send_signal(signal.SIGTERM)
        for service in self.services:
            service.wait(timeout=30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        port: int = anywhere.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture
def machine(tmp_path: Path, redis_url: str) -> Iterator[Machine]:
    machine = Machine(tmp_path, redis_url)
    try:
        yield machine
    finally:
        machine.stop()


def _of(page: str, section: str, language: str) -> list[Block]:
    return [block for block in SHOWN[page] if block.section == section and block.language == language]


# -- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "section"), SECTIONS, ids=str)
def test_a_section_works_as_it_is_shown(page: str, section: str, machine: Machine) -> None:
    python = _of(page, section, "python")
    for block in python:
        if block.file:
            (machine.directory / block.file).write_text(block.text)
    if program := "\n".join(block.text for block in python if not block.file):
        (machine.directory / "program.py").write_text(program)
        printed = machine.run("python", "-W", "error", "program.py")
        assert [block.text for block in _of(page, section, "text")] in ([], [printed])
    for line in "".join(block.text for block in _of(page, section, "sh")).splitlines():
        if line not in NOT_RUN:
            machine.run_line(line)


KINDS = {"python", "sh", "text", "mermaid", "dockerfile", "yaml"}


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {block.language for shown in SHOWN.values() for block in shown} <= KINDS
    kept_as_files = [block for shown in SHOWN.values() for block in shown if block.language in ("dockerfile", "yaml")]
    assert [block for block in kept_as_files if not block.file] == []
    assert all(block.first_line.startswith("$ ") for block in _texts_alone()), "a text that nothing prints"


def _texts_alone() -> list[Block]:
    """Texts that do not follow a program, but for the tree of the errors, which is compared elsewhere."""
    alone: list[Block] = []
    for page, shown in SHOWN.items():
        for before, block in pairwise([Block("", "", ""), *shown]):
            follows = before.language == "python" and before.section == block.section
            alone += [block] if block.language == "text" and not follows and page != "errors.md" else []
    return alone


def test_lines_left_out_are_there_to_be_left_out() -> None:
    lines = {line for shown in SHOWN.values() for block in shown for line in block.text.splitlines()}
    assert NOT_RUN.keys() - lines == set()


def test_a_command_that_fails_is_noticed(machine: Machine) -> None:
    with pytest.raises(AssertionError, match="no-such"):
        machine.run_line("crewq show no-such-run")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        machine.run("python", "-c", "1 / 0")


# -- transcripts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", _texts_alone(), ids=lambda block: block.first_line)
def test_a_transcript_shows_what_is_shown(block: Block, machine: Machine) -> None:
    command, *lines = block.text.splitlines()
    if command.startswith("$ ./run "):
        machine.env["CREWQ_COMMAND"] = "./run"  # as `run` itself says
    shown = _on_a_terminal(machine, re.sub(r"^\$ \./run ", "crewq ", command).split())
    assert [line for line in lines if line not in ("", "...") and _plain(line) not in shown] == []


def _on_a_terminal(machine: Machine, command: list[str]) -> set[str]:
    """All lines that a command shows on a terminal, whether they stay there or are drawn over."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = machine.env | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=machine.directory, env=env, stdin=its, stdout=its, stderr=its)
    os.close(its)
    pieces: list[bytes] = []
    try:
        while piece := os.read(mine, 65536):
            pieces.append(piece)
    except OSError:
        pass  # Linux's way to say that the other end is closed
    os.close(mine)
    assert process.wait(timeout=60) == 0
    moved = re.sub(r"\x1b\[\d*[A-K]", "\n", b"".join(pieces).decode())
    return {_plain(line) for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", moved).splitlines()}


def _plain(line: str) -> str:
    """A line without what differs from run to run."""
    for pattern, same in ((r"\b[0-9a-f]{8}\b", "ID"), (r"[\d,]+(?= tokens| +\$)", "N"), (r"\d+\.\d s", "T")):
        line = re.sub(pattern, same, line)
    return " ".join(line.split())


# -- examples ---------------------------------------------------------------------------------------------------------

EXAMPLES = {
    "parallel_content.py": "# night trains",
    "market_research.py": "e-bikes   +75.6 %",
    "travel_plans.py": "1 model call, the sights were known\nDay 1: Alfama.",
}
MODELS_OF = """
import runpy, sys
from crewq import Crew
found = runpy.run_path(sys.argv[1]).values()
crews = [crew for value in found for crew in (value if isinstance(value, list) else [value]) if isinstance(crew, Crew)]
print(*{str(agent.llm) for crew in crews for agent in crew.agents})
"""


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_an_example_runs(example: str, machine: Machine) -> None:
    assert EXAMPLES[example] in machine.run("python", "-W", "error", f"examples/{example}")
    machine.env["CREWQ_MODEL"] = "openai/gpt-4.1-mini"
    assert machine.run("python", "-c", MODELS_OF, f"examples/{example}").strip() == "openai/gpt-4.1-mini"


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_short_and_named_in_the_readme(example: str) -> None:
    assert len((ROOT / "examples" / example).read_text().splitlines()) < 80
    assert f"(examples/{example})" in (ROOT / "README.md").read_text()
