"""What all of crewq's handlers in Flower have in common: its login, always; headers that let no foreign script run."""

from __future__ import annotations

import base64
import binascii
import json
from http.client import responses
from typing import TYPE_CHECKING, Any

from flower.views import BaseHandler as FlowerHandler
from tornado.web import HTTPError, RequestHandler

from crewq import errors
from crewq.pages.desk import Desk
from crewq.pages.guard import is_locked, is_meant, is_private

if TYPE_CHECKING:
    Base = RequestHandler  # what Flower's own handler is; it has no types
else:
    Base = FlowerHandler

# The first that fits counts.
STATUS: tuple[tuple[type[errors.CrewqError], int], ...] = (
    (errors.NotNow, 409),
    (errors.UsageError, 400),
    (errors.NotFound, 404),
    (errors.StoreError, 503),
)
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
EXPOSED = (
    "Flower can be reached from other machines, or was asked under a foreign name, and has no password: start it with "
    "FLOWER_BASIC_AUTH=NAME:PASSWORD. Without one, these pages are for http://localhost only."
)


class Handler(Base):
    """Any of crewq's pages. Nobody sees one without Flower's login."""

    desk: Desk

    def initialize(self, desk: Desk) -> None:
        """What Tornado gives it with each request."""
        self.desk = desk

    def set_default_headers(self) -> None:
        """Not Flower's: those would let any page read this one where its API is open to all."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def check_xsrf_cookie(self) -> None:
        """Always, and by the token; Flower's own handlers go by the origin, or not at all without a password."""
        RequestHandler.check_xsrf_cookie(self)

    def prepare(self) -> None:
        """Let in whom Flower lets in, and nobody from elsewhere while it lets in everybody."""
        doors = self.flower_options
        if not is_locked(doors) and not (is_private(doors) and is_meant(self.request.host, doors)):
            raise HTTPError(403, EXPOSED)
        if not self.current_user:
            self.turn_away()

    def turn_away(self) -> None:
        """Where somebody goes who has not logged in."""
        self.redirect(f"{self.get_login_url()}?next={self.request.path}")

    @property
    def flower_options(self) -> Any:
        """Flower's options."""
        application: Any = self.application
        return application.options

    @property
    def base(self) -> str:
        """What begins the path of every page of crewq's."""
        prefix = (self.flower_options.url_prefix or "").strip("/")
        return f"/{prefix}/crewq" if prefix else "/crewq"

    @property
    def who(self) -> str:
        """Who is logged in, and from where."""
        return f"{self._name()} from {self.request.remote_ip}"

    def _name(self) -> str:
        if isinstance(self.current_user, str):
            return self.current_user
        scheme, _, credentials = self.request.headers.get("Authorization", "").partition(" ")
        try:
            name = base64.b64decode(credentials).decode() if scheme == "Basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            name = ""
        return name.partition(":")[0] or "somebody"


class Data(Handler):
    """What the pages' scripts ask for: JSON, also of what went wrong."""

    def turn_away(self) -> None:
        """A script cannot log in."""
        raise HTTPError(403, "Log in to Flower first.")

    def answer(self, facts: Any) -> None:
        """Send JSON."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(json.dumps(facts, ensure_ascii=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The error as JSON: its name, and its message."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, errors.CrewqError):
            self.set_status(next((status for kind, status in STATUS if isinstance(error, kind)), 500))
            return self.answer({"error": type(error).__name__, "message": str(error)})
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        said = error.get_message() if isinstance(error, HTTPError) else None
        return self.answer({"error": str(status_code), "message": said or responses.get(status_code, "Error")})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """An error of crewq's is an answer, and nothing to be alarmed about."""
        if not isinstance(value, errors.CrewqError):
            super().log_exception(typ, value, tb)

    def number(self, name: str, default: int, most: int) -> int:
        """A number that was asked for.

        Raises:
            HTTPError: it is none.
        """
        text = self.get_query_argument(name, "") or str(default)
        if not text.isdecimal() or len(text) > 15:
            raise HTTPError(400, f"{name} must be a whole number.")
        return min(int(text), most)


__all__ = ["CONTENT_POLICY", "HEADERS", "Data", "Handler"]
