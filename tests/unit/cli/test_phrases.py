from __future__ import annotations

from pathlib import Path

import pytest

from crewq.cli.phrases import called, counted, duration, money, short, tokens
from crewq.outputs import UsageMetrics


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (0.0, "0.0 s"),
        (-0.2, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3600, "1 h 0 min"),
        (7530, "2 h 5 min"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("cost", "unpriced", "said"),
    [
        (0.0, 0, "$0.00"),
        (0.00123, 0, "$0.0012"),
        (1e-6, 0, "<$0.0001"),
        (12.345, 0, "$12.35"),
        (0.0, 2, "$?"),
        (0.5, 1, "$0.5000 + ?"),
    ],
)
def test_an_unknown_price_is_never_nothing(cost: float, unpriced: int, said: str) -> None:
    assert money(UsageMetrics(cost=cost, unpriced_requests=unpriced)) == said


def test_numbers_and_ids() -> None:
    assert tokens(UsageMetrics(total_tokens=12345)) == "12,345"
    assert (counted(1, "run"), counted(2, "run"), counted(0, "run")) == ("1 run", "2 runs", "0 runs")
    assert short("3f2a91bc-0000") == "3f2a91bc"


def test_a_command_is_named_as_it_was_called(tmp_path: Path) -> None:
    installed, other = tmp_path / "bin" / "crewq", tmp_path / "elsewhere" / "crewq"
    for program in (installed, other):
        program.parent.mkdir()
        program.touch(mode=0o755)
    on_path = {"PATH": str(installed.parent)}
    assert called(on_path, str(installed)) == "crewq"
    assert called(on_path, str(other)) == str(other), "what is on PATH is another one"
    assert called({"PATH": ""}, str(installed)) == str(installed)
    assert called(on_path, "/somewhere/crewq/__main__.py") == "python -m crewq"
    assert called(on_path | {"CREWQ_COMMAND": "./run"}, str(installed)) == "./run"
