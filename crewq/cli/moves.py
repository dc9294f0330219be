"""CrewAI's imports as crewq's: what moves where, and a module rewritten, with all else in it as it was."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from crewq.lacking import NAMES

# Where the names of a CrewAI module are; those of any other module of it are in `crewq` itself.
HOMES: Final = {
    "crewai.knowledge": "crewq.knowledge",
    "crewai.mcp": "crewq.mcp",
    "crewai.project": "crewq.project",
    "crewai.tools": "crewq.tools",
}
MODULES: Final = {"crewai": "crewq", **HOMES}
RENAMED: Final = {"BaseAgent": "Agent"}
FROM: Final = re.compile(rb"from\s+(crewai[\w.]*)")
BY_HAND: Final = "change it by hand."
TEXT: Final = re.compile(r"crewai(\.\w+)+")

# What to do instead, by the beginning of the module's name or of the name in it; the longest counts.
INSTEAD: Final = {
    "crewai": "crewq has nothing of that name.",
    **{f"crewai.{name}": advice for name, advice in NAMES.items()},
    "crewai.flow": NAMES["Flow"],
    "crewai.memory": NAMES["Memory"],
    "crewai.knowledge.knowledge": NAMES["Knowledge"],
    "crewai.knowledge.source.pdf_knowledge_source": "read the text yourself: StringKnowledgeSource(content=...).",
    "crewai.knowledge.source.excel_knowledge_source": "read the text yourself: StringKnowledgeSource(content=...).",
    "crewai.knowledge.source.crew_docling_source": "read the text yourself: StringKnowledgeSource(content=...).",
    "crewai.knowledge.storage": "there is none: knowledge travels with the crew.",
    "crewai.tasks.llm_guardrail": NAMES["LLMGuardrail"],
    "crewai.state": NAMES["CheckpointConfig"],
    "crewai.project.cache_handler": "set Crew(cache=True); a tool's cache_function says which results are kept.",
    "crewai.utilities.events": "follow a run with run.events().",
    "crewai.events": "follow a run with run.events().",
    "crewai.hooks": "use step_callback, or a model of your own (BaseLLM).",
    "crewai.tools.structured_tool": "use @tool or BaseTool.",
    "crewai_tools": "crewq brings no such tools: keep it, and crewai-tools installed, as crewq takes them as they are.",
}


class Leftover(NamedTuple):
    """Something that does not carry over: where it is, and what to do about it."""

    line: int
    what: str
    advice: str


class Moved(NamedTuple):
    """A module rewritten, and what in its imports does not carry over."""

    source: str
    leftovers: list[Leftover]


def home_of(module: str, name: str) -> str | None:
    """The module of crewq's that has what is `name` in a module of CrewAI's, if any has."""
    if f"{module}.{name}" in HOMES or name == "*":
        return MODULES.get(module)
    if instead_of(module, name) != INSTEAD["crewai"]:
        return None
    root = next((home for old, home in HOMES.items() if _below(module, old)), "crewq")
    known = getattr(importlib.import_module(root), "__all__", ())
    return root if RENAMED.get(name, name) in known else None


def home_of_module(module: str) -> str | None:
    """The module of crewq's to import where all of one of CrewAI's is imported, if there is any."""
    return MODULES.get(module, "crewq") if instead_of(module) == INSTEAD["crewai"] else None


def instead_of(module: str, name: str = "") -> str:
    """What to do where a name of a module does not carry over."""
    full = f"{module}.{name}"
    return INSTEAD[max((begin for begin in INSTEAD if _below(full, begin)), key=len, default="crewai")]


def _below(module: str, other: str) -> bool:
    return f"{module}.".startswith(f"{other}.")


def rewrite(source: str, tree: ast.Module) -> Moved:
    """The module `source`, of which `tree` was parsed, with its imports of CrewAI's made crewq's."""
    return _Rewriting(source, tree).done()


class _Rewriting:
    """One module. Positions are in bytes of UTF-8, as those of `ast` are."""

    def __init__(self, source: str, tree: ast.Module) -> None:
        self.text = source.encode()
        self.tree = tree
        self.newline = "\r\n" if "\r\n" in source else "\n"
        self.lines = [0]
        for line in self.text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.edits: dict[tuple[int, int], str] = {}
        self.leftovers: list[Leftover] = []

    def done(self) -> Moved:
        imports = [node for node in ast.walk(self.tree) if isinstance(node, ast.Import)]
        roots = {name.asname or "crewai" for node in imports for name in node.names if _is_root(name)}
        used = {self._use(chain) for chain in _chains(self.tree) if chain[0].id in roots}
        for each in imports:
            self._import(each, used)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                self._import_from(node, node.module or "")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and TEXT.fullmatch(node.value):
                self._leave(node, repr(node.value), BY_HAND)
        text = self.text
        for (start, end), new in sorted(self.edits.items(), reverse=True):
            text = text[:start] + new.encode() + text[end:]
        return Moved(text.decode(), sorted(self.leftovers))

    def _span(self, node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.lines[node.lineno - 1] + node.col_offset, self.lines[end_line - 1] + end_column

    def _leave(self, node: ast.expr | ast.alias, what: str, advice: str) -> None:
        self.leftovers.append(Leftover(node.lineno, what, advice))

    # -- from crewai.module import name ------------------------------------------------------------------------

    def _import_from(self, node: ast.ImportFrom, module: str) -> None:
        if not (_below(module, "crewai") or _below(module, "crewai_tools")):
            return
        moved: dict[str, list[ast.alias]] = {}
        for name in node.names:
            home = home_of(module, name.name)
            moved.setdefault(home or module, []).append(name)
            if home is None:
                self._leave(name, f"from {module} import {name.name}", instead_of(module, name.name))
        if set(moved) != {module}:
            self._replace(node, moved)

    def _replace(self, node: ast.ImportFrom, moved: dict[str, list[ast.alias]]) -> None:
        start, end = self._span(node)
        found = FROM.match(self.text, start)
        if found and len(moved) == 1 and not any(name.name in RENAMED for name in node.names):
            self.edits[found.span(1)] = next(iter(moved))  # and the list of names stays as it is written
            return
        before = self.text[self.lines[node.lineno - 1] : start].decode()
        statements = [_statement(module, moved[module]) for module in sorted(moved, key=_of_crewq_first)]
        if before.strip():
            self.edits[start, end] = "; ".join(statements)
        else:
            comments = _comments(self.text[start:end].decode())
            self.edits[start, end] = f"{self.newline}{before}".join([*comments, *statements])

    # -- import crewai, crewai.module --------------------------------------------------------------------------

    def _import(self, node: ast.Import, used: set[str]) -> None:
        for name in node.names:
            if not (_below(name.name, "crewai") or _below(name.name, "crewai_tools")):
                continue
            home = MODULES.get(name.name) if name.asname else home_of_module(name.name)
            if home is None:
                self._leave(name, f"import {name.name}", instead_of(name.name))
                continue
            own = f"{home} as {name.asname}" if name.asname else home
            further = sorted(used & {"crewq.project"} - {home}) if _is_root(name) else []
            self.edits[self._span(name)] = ", ".join([own, *further])

    def _use(self, chain: list[ast.Name | ast.Attribute]) -> str:
        """Rename what is used as `crewai.module.name`; answers the module of crewq's that it is in."""
        first = chain[0]
        assert isinstance(first, ast.Name)
        written = [first.id, *(node.attr for node in chain if isinstance(node, ast.Attribute))]
        root = "crewq" if first.id == "crewai" else first.id
        for at in range(1, len(chain)):
            module, name = ".".join(["crewai", *written[1:at]]), written[at]
            if home := home_of(module, name):
                target = HOMES.get(f"{module}.{name}", f"{home}.{RENAMED.get(name, name)}")
                self._rename(chain[at], ".".join(written[: at + 1]), root + target.removeprefix("crewq"))
                return HOMES.get(f"{module}.{name}", home)
        if len(chain) == 1:
            self._rename(first, first.id, root)
        else:
            self._leave(first, ".".join(written), instead_of(".".join(["crewai", *written[1:]])))
        return "crewq"

    def _rename(self, node: ast.expr, old: str, new: str) -> None:
        start, end = self._span(node)
        if self.text[start:end].decode() == old:
            self.edits[start, end] = new
        else:  # written over several lines, or inside an f-string, where positions are not to be relied on
            self._leave(node, old, BY_HAND)


def _is_root(name: ast.alias) -> bool:
    """Whether an import makes all of CrewAI known under one name."""
    return name.name == "crewai" or (not name.asname and name.name.startswith("crewai."))


def _chains(tree: ast.Module) -> Iterator[list[Any]]:
    """Every `name.name.name` of a module, as its nodes from the first to the last."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))]
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if id(node) not in inner:
            chain: list[ast.expr] = [node]
            while isinstance(outer := chain[0], ast.Attribute):
                chain.insert(0, outer.value)
            if isinstance(chain[0], ast.Name):
                yield chain


def _of_crewq_first(module: str) -> tuple[bool, str]:
    return not module.startswith("crewq"), module


def _statement(module: str, names: Sequence[ast.alias]) -> str:
    listed = ", ".join(_listed(name) if module.startswith("crewq") else ast.unparse(name) for name in names)
    return f"from {module} import {listed}"


def _listed(name: ast.alias) -> str:
    asname = name.asname or (name.name if name.name in RENAMED else None)
    return ast.unparse(ast.alias(RENAMED.get(name.name, name.name), asname))


def _comments(statement: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(statement).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


__all__ = ["HOMES", "INSTEAD", "RENAMED", "Leftover", "Moved", "home_of", "home_of_module", "instead_of", "rewrite"]
