"""The pages of the documentation, taken apart: their fenced blocks, tables and inline code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """A fenced block, and where it stands."""

    section: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str:
        """The file that the block is, by the comment that it begins with; "" if it is none."""
        found = re.fullmatch(r"# ([\w/-]+\.[\w.]+|(?:[\w/-]+/)?Dockerfile)", self.first_line)
        return found[1] if found else ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    section, language, lines = "", None, list[str]()
    for line in page.read_text().splitlines():
        if language is None and line.startswith("```"):
            language, lines = line.removeprefix("```"), []
        elif language is not None and line == "```":
            found.append(Block(section, language, "".join(lines)))
            language = None
        elif language is not None:
            lines.append(f"{line}\n")
        elif line.startswith("## "):
            section = line.removeprefix("## ")
    assert language is None, f"{page.name}: a block that does not end"
    return found


def in_containers(shown: list[Block]) -> set[str]:
    """The sections that take a Docker engine; tests/compose runs what they show."""
    return {block.section for block in shown if re.search(r"^docker |\bdocker compose ", block.text, re.MULTILINE)}


def for_a_cluster(shown: list[Block]) -> set[str]:
    """The sections whose commands are for a Kubernetes cluster; tests/unit/test_k8s.py looks at them."""
    return {block.section for block in shown if re.search(r"^kubectl ", block.text, re.MULTILINE)}


def rows(page: Path, header: str) -> list[list[str]]:
    """The rows of the table whose header row begins like this."""
    lines = page.read_text().splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(header)) + 2
    last = next(at for at in range(first, len(lines)) if not lines[at].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:last]]


def code_in(text: str) -> list[str]:
    """What stands in `backticks`."""
    return re.findall(r"`([^`\n]+)`", text)
