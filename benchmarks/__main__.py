"""Runs benchmarks: one by its name, or `all`; or lists them."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks._report import as_json, as_markdown

ORDER = ("latency", "fanout", "throughput", "submit", "growth", "replay", "recovery", "footprint", "durability")


def main(arguments: list[str]) -> None:
    """Run what is named first; without a name, say what there is."""
    modules = _modules()
    if arguments and hasattr(modules.get(arguments[0]), "main"):
        modules[arguments[0]].main(arguments[1:])
        return
    given = _parser(modules).parse_args(arguments)
    if given.name:
        _measure([modules[name] for name in (ORDER if given.name == "all" else [given.name])], given)
        return
    for name, module in modules.items():
        print(f"{name:<12} {(module.__doc__ or '').splitlines()[0]}")
    print(f"{'all':<12} B1 to B9, one after the other: some ten minutes, and twenty where the peers are installed")


def _modules() -> dict[str, ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    return {name: importlib.import_module(f"benchmarks.{name}") for name in names}


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*modules, "all"])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="at full size, which takes longer")
    size.add_argument("--tiny", action="store_true", help="only to see that it works: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    return parser


def _measure(modules: list[ModuleType], given: argparse.Namespace) -> None:
    rows = []
    for module in modules:
        print(f"{module.__name__.rpartition('.')[2]} ...", file=sys.stderr, flush=True)
        rows += module.measure(full=given.full, tiny=given.tiny)
        print(as_markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(as_json(rows), encoding="utf-8")
        if given.markdown:
            given.markdown.write_text(as_markdown(rows), encoding="utf-8")
    print(as_markdown(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
