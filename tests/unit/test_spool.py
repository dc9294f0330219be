"""Paid answers on disk: they outlive their worker, and are taken over once, by whoever comes first."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import crewq.spool
from crewq.keyring import Key
from crewq.spool import Answer, Spool
from crewq.store import Call, Job
from crewq.store.cipher import Cipher
from crewq.store.keys import Keys
from crewq.store.vault import Vault


@dataclass
class Written:
    """A journal that only takes answers."""

    answers: list[str] = field(default_factory=list)

    def finish(self, call: Call, answer: str, *, usage: str, seconds: float) -> str:
        self.answers.append(answer)
        return answer


def answer(text: str) -> Answer:
    return Answer(Call(Job("run", 0), 1, "model", "m", "digest", 0), text, "", 0.5)


def die(spool: Spool) -> None:
    """What the kernel does at the death of its process."""
    os.close(spool._lock)


def left_behind(folder: Path, *texts: str) -> Spool:
    """A spool whose worker died while it held these."""
    spool = Spool(folder)
    for text in texts:
        spool.holding(answer(text)).__enter__()
    die(spool)
    return spool


@pytest.fixture
def journal() -> Written:
    return Written()


def test_what_a_dead_worker_held_is_taken_over_once(tmp_path: Path, journal: Written) -> None:
    left_behind(tmp_path, "Zürich 🦀", "two")
    other = Spool(tmp_path)
    assert other.adopt(journal) == 2  # type: ignore[arg-type]
    assert other.adopt(journal) == 0  # type: ignore[arg-type]
    assert sorted(journal.answers) == ["Zürich 🦀", "two"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_live_worker_holds_is_left_to_it(tmp_path: Path, journal: Written) -> None:
    live = Spool(tmp_path)
    with live.holding(answer("mine")):
        assert Spool(tmp_path).adopt(journal) == 0  # type: ignore[arg-type]
        assert live.adopt(journal) == 0  # type: ignore[arg-type]
    live.close()
    assert journal.answers == []
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_answer_does_not_hold_up_the_others(tmp_path: Path, journal: Written) -> None:
    dead = left_behind(tmp_path, "whole")
    assert dead._own
    (dead._own / "0.json").write_text('{"call": {"jo')
    Spool(tmp_path).adopt(journal)  # type: ignore[arg-type]
    assert journal.answers == ["whole"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", ["_lock", "fcntl.flock"])
def test_a_folder_that_another_takes_for_left_behind_while_it_is_made(
    tmp_path: Path, journal: Written, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Sweepers look into every folder every second, also into one that is not locked yet."""
    step = operator.attrgetter(before)(crewq.spool)
    raced: list[object] = []

    def late(*arguments: object) -> object:
        if not raced:
            raced.append(arguments)
            Spool(tmp_path).adopt(journal)  # type: ignore[arg-type]
        return step(*arguments)

    monkeypatch.setattr(f"crewq.spool.{before}", late)
    spool = Spool(tmp_path)
    with spool.holding(answer("mine")):
        assert Spool(tmp_path).adopt(journal) == 0  # type: ignore[arg-type]
    spool.close()
    assert (journal.answers, list(tmp_path.iterdir())) == ([], [])


# -- with keys --------------------------------------------------------------------------------------------------------


def a_vault(*names: str) -> Vault:
    def nothing(command: object) -> None:
        raise AssertionError

    keys = tuple(Key(name, name.encode() * 16) for name in names)
    return Vault(Keys("t"), nothing, Cipher(keys))


def keyed(folder: Path, *names: str) -> Spool:
    vault = a_vault(*names)
    return Spool(folder, vault.seal, vault.open)


def test_what_is_on_disk_is_encrypted_where_there_are_keys(tmp_path: Path, journal: Written) -> None:
    spool = keyed(tmp_path, "k1")
    spool.holding(answer("a secret")).__enter__()
    die(spool)
    (held,) = tmp_path.rglob("*.json")
    assert "secret" not in held.read_text()
    assert "digest" not in held.read_text()
    assert keyed(tmp_path, "k2", "k1").adopt(journal) == 1  # type: ignore[arg-type]
    assert journal.answers == ["a secret"]
    assert list(tmp_path.iterdir()) == []


def test_what_this_worker_cannot_decrypt_is_left_to_one_that_can(tmp_path: Path, journal: Written) -> None:
    spool = keyed(tmp_path, "k1")
    spool.holding(answer("paid")).__enter__()
    die(spool)
    for other in (Spool(tmp_path, a_vault().seal, a_vault().open), keyed(tmp_path, "k2")):
        assert other.adopt(journal) == 0  # type: ignore[arg-type]
    assert keyed(tmp_path, "k1").adopt(journal) == 1  # type: ignore[arg-type]
    assert journal.answers == ["paid"]


def test_an_answer_from_before_there_were_keys_is_not_lost(tmp_path: Path, journal: Written) -> None:
    left_behind(tmp_path, "paid")
    assert keyed(tmp_path, "k1").adopt(journal) == 1  # type: ignore[arg-type]
    assert journal.answers == ["paid"]
