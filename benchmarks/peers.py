"""Sets up, in `.peers`, the environments of the peers that B1, B2, B3, B7 and B8 measure crewq beside: some minutes, 1 GB."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from benchmarks._stage import ROOT

# CrewAI has an environment of its own, as it wants other versions of what crewq needs. The others get those of crewq's.
CREWAI = ("crewai==1.15.30", "celery", "redis")
OTHERS = ("dramatiq[redis]==2.2.1", "dbos==3.4.0", "litellm")
SHARED = {"crewai": ("celery", "kombu", "redis"), "others": None}


def main(arguments: list[str]) -> None:
    """Set both up, anew."""
    argparse.ArgumentParser(prog="./run bench peers", description=__doc__).parse_args(arguments)
    set_up("others", OTHERS)
    set_up("crewai", CREWAI)


def set_up(name: str, wanted: tuple[str, ...]) -> None:
    """One environment, with the interpreter that this one has."""
    folder, uv = ROOT / ".peers" / name, _uv()
    print(f"{name}: {', '.join(wanted)} ...", file=sys.stderr, flush=True)
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", str(Path(sys.executable).resolve()), folder], check=True
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as versions:
        versions.write("\n".join(_versions(SHARED[name])))
        versions.flush()
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python"]
        subprocess.run([*install, "--constraints", versions.name, *wanted], check=True)


def _uv() -> str:
    """What `./run` installs crewq with."""
    found = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".boot" / "bin"))
    if not found:
        raise SystemExit("uv is not on PATH, which sets the peers up: https://docs.astral.sh/uv/")
    return found


def _versions(names: tuple[str, ...] | None) -> list[str]:
    """Of what is installed here, so that a peer is measured with the same."""
    return [
        f"{one.name}=={one.version}"
        for one in distributions()
        if one.name != "crewq" and (names is None or one.name in names)
    ]
