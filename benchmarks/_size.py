"""What a distribution weighs with all that it needs, where this interpreter has it: `python -m benchmarks._size NAME`.

Without bytecode, which some installers write and others leave to the first import.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires
from pathlib import Path

from packaging.requirements import Requirement


def megabytes(root: str) -> float:
    """Of a distribution, and all that it requires, here."""
    return sum(path.stat().st_size for name in _closure(root) for path in _files(distribution(name))) / 1e6


def _closure(root: str) -> set[str]:
    found: set[str] = set()
    left = [(root, frozenset[str]())]
    while left:
        name, extras = left.pop()
        if name in found and not extras:
            continue
        try:
            wanted = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue
        found.add(name)
        for one in wanted:
            applies = one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (extras or {""}))
            if applies and one.name.lower() not in found:
                left.append((one.name.lower(), frozenset(one.extras)))
    return found


def _files(found: Distribution) -> list[Path]:
    """Its files; of one that is installed from a folder in place, those in the folder of its package."""
    listed = [Path(str(file.locate())) for file in found.files or ()]
    if "editable" in (found.read_text("direct_url.json") or ""):
        folder = Path(json.loads(found.read_text("direct_url.json") or "")["url"].removeprefix("file://"), found.name)
        listed += folder.rglob("*")
    return [path for path in listed if path.is_file() and path.suffix != ".pyc"]


if __name__ == "__main__":
    print(megabytes(sys.argv[1]))
