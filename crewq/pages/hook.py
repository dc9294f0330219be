"""Puts crewq's pages into Flower: handlers before its own, and a link to them in its navigation.

Flower has no documented place for either, so its minor version is pinned, and a test holds what is relied on here: the
list of handlers, the settings of its Tornado application, and one line of its navigation bar.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flower import urls
from tornado.template import Loader, Template

from crewq.pages.desk import Desk
from crewq.pages.routes import routes
from crewq.producer import Producer

TEMPLATES: Final = Path(__file__).parent / "templates"
OURS: Final = "crewq/"  # begins the names of our own templates
BAR: Final = "navbar.html"
FIRST: Final = '<ul class="app-nav navbar-nav">'  # where the links of Flower's bar begin


class Templates(Loader):
    """Flower's templates, with a link to the runs in its navigation bar; and ours, which extend Flower's."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """Names are those of Flower's folder, also where one of our templates uses them."""
        return name

    def _create_template(self, name: str) -> Template:
        file = TEMPLATES / name.removeprefix(OURS) if name.startswith(OURS) else Path(self.root) / name
        text = file.read_text(encoding="utf-8")
        if name == BAR:
            text = text.replace(FIRST, FIRST + (TEMPLATES / "link.html").read_text(encoding="utf-8"), 1)
        return Template(text, name=name, loader=self)


def install(producer: Producer) -> None:
    """Let the Flower that is about to start in this process have crewq's pages.

    Args:
        producer: the way to the runs.
    """
    urls.handlers[:0] = routes(Desk(producer))
    urls.settings["template_loader"] = Templates(urls.settings["template_path"])


__all__ = ["FIRST", "Templates", "install"]
