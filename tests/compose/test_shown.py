"""What the documentation shows of containers is run as it is shown, section by section, in a copy of the clone."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.fleet import IMAGE, ROOT, Fleet, docker
from tests.pages import PAGES, blocks, in_containers

SHOWN = {page.name: blocks(page) for page in PAGES}
SECTIONS = sorted((page, section) for page, shown in SHOWN.items() for section in in_containers(shown))
NEEDED = (
    "docker-compose.yml",
    "workers",
    "examples",
    "crewq",
    "pyproject.toml",
    "uv.lock",
    "README.md",
    "LICENSE",
    ".dockerignore",
)
# Images that the pages make, and their names here.
MADE = {"shop-worker": f"{IMAGE}-own", "analysis-sandbox": f"{IMAGE}-sandbox"}


@pytest.fixture
def fleet(image: str, tmp_path: Path) -> Iterator[Fleet]:
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tmp_path / name)
    for path in (*tmp_path.parents[:2], tmp_path):
        path.chmod(0o755)  # pytest makes them for their owner only, and a container's user is another
    with Fleet(folder=tmp_path) as fleet:
        yield fleet
    docker("image", "rm", "--force", *MADE.values())


@pytest.mark.parametrize(("page", "section"), SECTIONS, ids=str)
def test_a_section_works_as_it_is_shown(page: str, section: str, fleet: Fleet) -> None:
    script = [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH", "umask 022"]
    for block in SHOWN[page]:
        if block.section == section and block.file:
            script += [
                f"mkdir -p $(dirname {block.file})",
                f"cat >{block.file} <<'END'",
                *block.text.splitlines(),
                "END",
            ]
        elif block.section == section:
            assert block.language == "sh"
            script += block.text.splitlines()
    text = "\n".join(script).replace("redis://localhost:6379/0", fleet.redis_url)
    for shown, made in MADE.items():
        text = text.replace(shown, made)
    fleet.run("sh", "-euxc", re.sub(r"\bcrewq-worker\b", IMAGE, text), timeout=800)
