"""Breaks a running system on purpose, and proves that it keeps its promises: `python -m tests.chaos --help`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.session import run

WORKERS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 1: a promise was broken."""
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=None, help="of the faults; default: another each time")
    parser.add_argument("--workers", type=int, default=WORKERS, help="worker processes")
    parser.add_argument("--per-minute", type=float, default=60.0, help="faults per minute, on average")
    parser.add_argument(
        "--at-least", type=int, default=0, help="go on, if it takes longer, until so many have happened"
    )
    parser.add_argument("--faults", default=",".join(FAULTS), help="kinds, with commas between: %(default)s")
    parser.add_argument("--appendfsync", default="everysec", choices=("everysec", "always"), help="of Redis")
    parser.add_argument("--folder", type=Path, default=None, help="where ledgers and logs are kept")
    parser.add_argument("--report", type=Path, default=None, help="a file that gets the table, as Markdown")
    given = parser.parse_args(arguments)
    if unknown := set(given.faults.split(",")) - set(FAULTS):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="crewq-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    seed = random.SystemRandom().randrange(10_000) if given.seed is None else given.seed
    _tell(f"seed {seed}, {given.minutes:g} minutes, ledgers and logs in {folder}")
    began = time.monotonic()
    report, objections = run(
        folder,
        seed=seed,
        seconds=given.minutes * 60,
        workers=given.workers,
        kinds=given.faults.split(","),
        per_minute=given.per_minute,
        at_least=given.at_least,
        appendfsync=given.appendfsync,
        command=_command(given, seed),
        tell=_tell,
    )
    sys.stdout.write(report)
    if given.report:
        given.report.write_text(report)
    _tell(f"{time.monotonic() - began:.0f} s in all")
    return 1 if objections else 0


def _tell(word: str) -> None:
    sys.stderr.write(f"chaos: {word}\n")


def _command(given: argparse.Namespace, seed: int) -> str:
    """The command line of this run; what is as usual is left out."""
    words = [f"./run chaos --minutes {given.minutes:g} --seed {seed} --per-minute {given.per_minute:g}"]
    words += [f"--at-least {given.at_least}"] * bool(given.at_least)
    words += [f"--workers {given.workers}"] * (given.workers != WORKERS)
    words += [f"--faults {given.faults}"] * (given.faults != ",".join(FAULTS))
    words += [f"--appendfsync {given.appendfsync}"] * (given.appendfsync != "everysec")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
