"""Every benchmark runs, at a size at which its figures mean nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _peers
from benchmarks._peers import Peer
from tests.integration.worker_process import ROOT, environment

# Nobody who waits asks anything; and at this size, what durability costs is noise.
MAY_BE_NOTHING = ("commands", "throughput that durability costs", "memory")
PEERS = {name: peer for name, peer in vars(_peers).items() if isinstance(peer, Peer)}
LACKING = " is not installed"
TWO_RUNS = """
import json, sys
from benchmarks import _peers
from benchmarks._stage import stage
with stage(0.0, counted=True) as found, _peers.at_work(getattr(_peers, sys.argv[1]), processes=2, slots=4) as runs:
    first, second = runs(1), runs(2)
    print(json.dumps([found.calls(), first.cpu, second.cpu, second.first, second.seconds]))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # most of it is what the peers take to start, where they are installed
def test_every_row_of_the_table_can_be_measured_again(tmp_path: Path) -> None:
    rows = _measured(tmp_path, "all")
    assert {row["name"] for row in rows} == {f"B{number}" for number in range(1, 10)}
    for row in rows:
        assert row["what"] in (tmp_path / "table.md").read_text()
        if row["figure"].endswith(LACKING):
            assert row["figure"].removesuffix(LACKING) in {peer.name for peer in PEERS.values() if not peer.python}
            continue
        value = row["numbers"]["value"]
        assert math.isfinite(value), row
        assert value > 0 or row["what"].startswith(MAY_BE_NOTHING), row


@pytest.mark.slow
def test_a_peer_that_is_not_installed_has_rows_that_say_so(tmp_path: Path) -> None:
    rows = _measured(tmp_path, "latency", BENCH_PEERS="/nowhere/bin/python")
    lacking = [row["figure"].removesuffix(LACKING) for row in rows if row["figure"].endswith(LACKING)]
    assert lacking == [PEERS[name].name for name in ("CREWAI", "CREWAI_ON_CELERY", "DRAMATIQ", "DBOS")]
    assert rows[0]["numbers"]["value"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_makes_the_calls_of_three_tasks_for_each_run(name: str) -> None:
    if not PEERS[name].python:
        pytest.skip(f"{PEERS[name].distribution} is not installed: `./run bench peers` does that")
    done = subprocess.run(
        [sys.executable, "-c", TWO_RUNS, name], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    calls, *spent = json.loads(done.stdout)
    assert calls == 3 * (1 + 2)
    assert all(seconds > 0 for seconds in spent)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_figures_for_sizing_can_be_measured_again(tmp_path: Path) -> None:
    rows = {row["what"]: row["numbers"]["value"] for row in _measured(tmp_path, "sizing")}
    assert all(math.isfinite(value) for value in rows.values())
    connections = [value for what, value in rows.items() if what.startswith("connections")]
    assert len(connections) == 2
    assert all(value >= 1 for value in connections)


def test_it_says_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()][-1] == "all"
    assert "B7: " in done.stdout


def _measured(folder: Path, what: str, **environ: str) -> list[dict[str, Any]]:
    """The rows of a table, as machines read it."""
    figures, table = folder / "figures.json", folder / "table.md"
    command = [sys.executable, "-m", "benchmarks", what, "--tiny", "--json", str(figures), "--markdown", str(table)]
    done = subprocess.run(command, cwd=ROOT, env=environment(**environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(figures.read_text())["rows"]
    return rows
