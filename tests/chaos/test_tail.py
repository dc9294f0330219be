"""How the faults follow a ledger."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults.base import Tail


def test_a_line_is_told_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("before\n")
    tail = Tail(ledger)
    with ledger.open("a") as file:
        file.write("one wo")
        file.flush()
        assert not tail.tell("one")
        file.write("rd\n")
    assert not tail.tell("before")
    with ledger.open("a") as file:
        file.write("one word\n")
    assert tail.tell("one", "word")
    assert not tail.tell("one")


def test_a_ledger_is_not_held_open(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    tail = Tail(ledger)
    tail.tell("anything")
    assert ledger.resolve() not in {handle.resolve() for handle in Path("/proc/self/fd").iterdir()}
