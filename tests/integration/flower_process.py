"""A real Flower for tests: `crewq flower`, as a user starts it; and somebody who asks it over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.integration.worker_process import environment
from tests.waiting import until

NAME, PASSWORD = "ada", "engine-1843"


@dataclass
class Answer:
    """What Flower answers."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class FlowerProcess:
    """One Flower over the Redis at `url`.

    Args:
        folder: where it runs, and its log goes.
        url: of Redis.
        options: of its command line.
        prefix: of its URLs.
        locked: whether it has a password.
        env: its further environment.
    """

    def __init__(
        self, folder: Path, url: str, *options: str, prefix: str = "", locked: bool = True, **env: str
    ) -> None:
        self.port = free_port()
        self.root = f"/{prefix}" if prefix else ""
        self.locked = locked
        self._log = folder / f"flower-{self.port}.log"
        own = {"CREWQ_REDIS_URL": url} | ({"FLOWER_BASIC_AUTH": f"{NAME}:{PASSWORD}"} if locked else {}) | env
        given = [f"--port={self.port}", "--", *options, *([f"--url-prefix={prefix}"] if prefix else [])]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crewq", "flower", *given],
                cwd=folder,
                env=environment(**own),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ready(self) -> Self:
        """Wait until it answers."""
        until(lambda: self.process.poll() is not None or self._answers(), 40)
        assert self.process.poll() is None, self.log
        return self

    def _answers(self) -> bool:
        try:
            return self.get("/healthcheck", login=False).status == 200
        except OSError:
            return False

    def ask(
        self, method: str, path: str, body: str | None = None, *, login: bool | str = True, **headers: str
    ) -> Answer:
        """A request. Underscores in the names of headers are hyphens; `login` may be another NAME:PASSWORD."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if login and self.locked:
            credentials = login if isinstance(login, str) else f"{NAME}:{PASSWORD}"
            given["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, self.root + path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def data(self, path: str, **more: Any) -> Any:
        """JSON of our own, which has to be there."""
        answer = self.get(f"/crewq/api{path}", **more)
        assert answer.status == 200, answer.text
        return answer.json

    def token(self) -> str:
        """The token that a page of ours gives to its scripts, which is that of its cookie too."""
        page = self.get("/crewq/runs")
        found = re.search(r'data-xsrf="([^"]+)"', page.text)
        assert found, page.text
        return found[1]

    def act(self, path: str, body: dict[str, Any] | None = None, **more: Any) -> Answer:
        """Press a button, as our page does."""
        token = self.token()
        headers = {"X_XSRFToken": token, "Cookie": f"_xsrf={token}"}
        return self.ask("POST", f"/crewq/api{path}", json.dumps(body or {}), **headers | more)

    def events(self, run: str, after: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The server-sent events of a run: id, kind and data, as they come, until Flower ends them."""
        credentials = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"} | ({"Last-Event-ID": after} if after else {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", f"{self.root}/crewq/api/runs/{run}/events", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for raw in answer:
                line = raw.decode().rstrip("\n")
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    yield fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"])
                    fields = {}
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        port: int = anywhere.getsockname()[1]
        return port


__all__ = ["NAME", "PASSWORD", "Answer", "FlowerProcess", "free_port"]
