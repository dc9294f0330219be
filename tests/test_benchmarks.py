"""Every benchmark runs, at a size at which its figures mean nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.worker_process import ROOT, environment

# Nobody who waits asks anything; and at this size, what durability costs is noise.
MAY_BE_NOTHING = ("commands a second", "throughput that durability costs")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_row_of_the_table_can_be_measured_again(tmp_path: Path) -> None:
    figures, table = tmp_path / "figures.json", tmp_path / "table.md"
    command = [sys.executable, "-m", "benchmarks", "all", "--tiny", "--json", str(figures), "--markdown", str(table)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())["rows"]
    assert {row["name"] for row in rows} == {f"B{number}" for number in range(1, 10)}
    for row in rows:
        assert row["what"] in table.read_text()
        value = row["numbers"]["value"]
        assert math.isfinite(value), row
        assert value > 0 or row["what"].startswith(MAY_BE_NOTHING), row


def test_it_says_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()][-1] == "all"
    assert "B7: " in done.stdout
