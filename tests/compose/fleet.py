"""A fleet of containers: docker-compose.yml brought up under a project name of the tests' own, and what is done to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.integration.worker_process import environment

ROOT = Path(__file__).parents[2]
IMAGE = "crewq-worker-test"
BASES = ("python:3.13-slim", "redis:8")
PASSWORD = "/run/secrets/made/redis_password"


def missing() -> str:
    """Why there can be no containers here; nothing if there can."""
    if not shutil.which("docker"):
        return "there is no `docker` on PATH"
    wanted = {
        "no Docker engine answers `docker info`": ["docker", "info"],
        "Docker has no Compose v2": ["docker", "compose", "version"],
        **{
            f"the image {base} is not there: docker pull {base}": ["docker", "image", "inspect", base] for base in BASES
        },
    }
    for reason, command in wanted.items():
        try:
            done = subprocess.run(command, capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            return reason
        if done.returncode:
            return reason
    return ""


def docker(*arguments: str, timeout: float = 120) -> str:
    """What a command of Docker's prints; its failure is one of the test."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        port: int = anywhere.getsockname()[1]
        return port


class Fleet:
    """One Compose project, as a context manager: at the end nothing of it is left.

    Args:
        files: its compose files; without any, those that Compose finds in `folder`.
        folder: what relative paths in them, and commands, start from.
        variables: what the files are filled in with.
    """

    def __init__(self, *files: Path, folder: Path = ROOT, **variables: str) -> None:
        self.project = f"crewq-test-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.redis_port, self.flower_port = free_port(), free_port()
        self.variables = environment(
            COMPOSE_PROJECT_NAME=self.project,
            **({"COMPOSE_FILE": os.pathsep.join(map(str, files))} if files else {}),
            WORKER_IMAGE=IMAGE,
            REDIS_PORT=str(self.redis_port),
            FLOWER_PORT=str(self.flower_port),
            **variables,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("--profile=*", "down", "--volumes", "--remove-orphans", "--timeout=1", "--rmi=local")

    def compose(self, *arguments: str) -> str:
        """What a command of Compose's prints; its failure is one of the test."""
        return self.run("docker", "compose", *arguments)

    def run(self, *command: str, timeout: float = 300, **variables: str) -> str:
        """What any command prints in the environment of this fleet."""
        env = self.variables | variables
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def up(self, *arguments: str) -> None:
        """Have it run, all of it ready."""
        self.compose("up", "--detach", "--wait", *arguments)

    def exec(self, service: str, *command: str) -> str:
        """What a command prints in a container of a service."""
        return self.compose("exec", "-T", service, *command)

    def containers(self, service: str) -> list[str]:
        """The containers of a service that run, by id."""
        return self.compose("ps", "--quiet", "--no-trunc", service).split()

    def log(self, *services: str) -> str:
        """What containers have said."""
        return self.compose("logs", "--no-color", *services)

    # -- for producers on this machine

    @property
    def redis_url(self) -> str:
        """Where this machine finds its Redis."""
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def password(self) -> str:
        """Of its Redis."""
        return self.exec("redis", "cat", PASSWORD)

    @contextmanager
    def produced_from_here(self) -> Iterator[Mapping[str, str]]:
        """Make this process a producer for it; yields the variables that made it one."""
        more: dict[str, Any] = {"CREWQ_REDIS_URL": self.redis_url, "CREWQ_REDIS_PASSWORD": self.password()}
        before = {name: os.environ.get(name) for name in more}
        os.environ.update(more)
        try:
            yield more
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
