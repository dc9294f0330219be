"""Runs a benchmark by its name, or lists them."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main(arguments: list[str]) -> None:
    """Run the benchmark that is named first, with the other arguments."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    runnable = {name: module for name, module in modules.items() if hasattr(module, "main")}
    if arguments and arguments[0] in runnable:
        runnable[arguments[0]].main(arguments[1:])
        return
    for name, module in runnable.items():
        print(f"{name:<12} {(module.__doc__ or '').splitlines()[0]}")
    if arguments:
        sys.exit(f"There is no benchmark {arguments[0]!r}.")


if __name__ == "__main__":
    main(sys.argv[1:])
