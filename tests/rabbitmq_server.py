"""A RabbitMQ of one's own, where the server is installed: a node with its own folder, ports and Erlang's port mapper.

It leaves nothing behind, and meets no other node of this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from amqp import Connection

from tests.redis_servers import free_port
from tests.waiting import until

# Debian's command on PATH wants to be root, and becomes another user; the program behind it takes everybody.
PROGRAM = next(
    filter(None, (shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin"), shutil.which("rabbitmq-server"))), None
)
WHY_NOT = "" if PROGRAM else "rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)"


class RabbitMq:
    """A node that listens on this machine only; it can be killed, and started again with what it kept."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\ndisk_free_limit.absolute = 1MB\n"
        )
        (folder / "plugins").write_text("[].\n")
        mapper = str(free_port())
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": mapper,
            "RABBITMQ_NODENAME": f"crewq-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }
        self._mapper = subprocess.Popen(["epmd", "-port", mapper, "-address", "127.0.0.1"], env=self._env)
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        assert PROGRAM
        with (self.folder / "log").open("a") as log:
            # A session of its own, so that what it starts goes when it is killed.
            self.process = subprocess.Popen(
                [PROGRAM], cwd=self.folder, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: self.is_up() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.log

    def is_up(self) -> bool:
        try:
            with self.connection() as connection:
                connection.channel().close()
        except OSError:
            return False
        return True

    def connection(self) -> Connection:
        return Connection(f"127.0.0.1:{self.port}", connect_timeout=2)

    def restart(self) -> None:
        """As an administrator does."""
        self.process.terminate()
        self.process.wait(60)
        self.start()

    def kill(self) -> None:
        """`kill -9`, of it and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def close(self) -> None:
        self.kill()
        self._mapper.kill()
        self._mapper.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["PROGRAM", "WHY_NOT", "RabbitMq"]
