"""One process's way to Redis: commands and scripts with patience, and foreign errors turned into crewq's."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha1
from typing import Any, NamedTuple, TypeVar, cast

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from crewq import errors
from crewq.addresses import read_address, without_password
from crewq.masters import connection_class
from crewq.settings import Settings
from crewq.store.keys import ACTIONS_KEPT, COSTS_KEPT, ENDS_KEPT, EVENTS_KEPT, REMEMBERED, UNFINISHED, Keys
from crewq.store.redo import Redo
from crewq.store.scripts import assemble

Result = TypeVar("Result")

CLIENT_PATIENCE = 5.0  # seconds that a producer waits for Redis before it says that there is none
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between two tries
ANSWER_WITHIN = 30.0
# A try that began just before Redis was there again, at an address that swallows it, must end and be repeated in time for
# this process to renew its leases within HEAL_MS.
CONNECT_WITHIN = 2.0
HEAL_MS = 3_000  # after a restart of Redis, nothing new begins for so long: see redo.py
ON_DISK_WITHIN_MS = 2_000  # it writes its file once a second, in rare cases every other
SILENCE_MS = 2_000  # sweepers come by every second: a longer time without any means that nobody got through to Redis
USUAL_SLOTS = 32  # how many tasks are worked on at once, where no worker is there yet to say so
PROBE_MS = 5_000  # a lane in which nothing moves is asked this often
OLDEST_SERVER = (6, 2)
WAITS_FOR = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError, exceptions.TryAgainError)
START = re.compile(r"^(?:run_id|master_replid):(\S+)", re.MULTILINE)  # in INFO: which start of which server this is
REPLICA = re.compile(r"^role:slave", re.MULTILINE)
UNFIT = {  # by what an address is of, and by the mode that the server there says it is in
    (
        "server",
        "sentinel",
    ): "Write redis+sentinel://host:26379/NAME, with the name that it has for the Redis that it watches.",
    ("server", "cluster"): "Write redis+cluster://host:6379, and name another broker in CREWQ_BROKER_URL.",
    ("cluster", "standalone"): "Write redis://host:6379/0.",
}
MODES = {"sentinel": "a sentinel", "cluster": "part of a cluster", "standalone": "no cluster"}
REFUSES_WRITES = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")


class StartedAnew(exceptions.ConnectionError):
    """Redis is there, and may have lost what it was told last: that is to be done again before anything else."""


class Ends(NamedTuple):
    """What a read of the feed of ends gave.

    Fields:
        after: the entry to go on from.
        ended: runs and batches.
        paused: runs, each with its batch, if it has one.
    """

    after: str
    ended: tuple[str, ...] = ()
    paused: tuple[tuple[str, str], ...] = ()


class Connection:
    """Runs commands and scripts.

    Args:
        settings: where Redis is, the namespace, how long runs are kept.
        patience: seconds to wait for a Redis that does not answer; a worker waits without end (`math.inf`).
        connections: how many at most; a further caller waits for one.
        clock: milliseconds instead of Redis's own time, for tests and simulations.
        redo: what this process did last, shared by its connections.
        answer_within: seconds that Redis may take for one command before the connection is given up.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience: float = CLIENT_PATIENCE,
        connections: int = 8,
        clock: Callable[[], int] | None = None,
        client: redis.Redis | None = None,
        redo: Redo | None = None,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        self.where = settings.where
        self.keys = Keys(settings.namespace)
        self.patience = patience
        self.clock = clock
        self.redo = redo or Redo()
        self.client = client or _client(
            settings.redis_url or "", self.keys.prefix, connections, answer_within, self.redo
        )
        self._kind = read_address(settings.redis_url).kind if settings.redis_url else "server"
        self.closing = threading.Event()
        self._config = {
            "unfinished": UNFINISHED,
            "events_kept": EVENTS_KEPT,
            "ends_kept": ENDS_KEPT,
            "actions_kept": ACTIONS_KEPT,
            "costs_kept": COSTS_KEPT,
            "remembered": REMEMBERED,
            "probe_ms": PROBE_MS,
            "heal_ms": HEAL_MS,
            "silence_ms": SILENCE_MS,
            "usual_slots": USUAL_SLOTS,
            **{f"keep_{state}": seconds for state, seconds in asdict(settings.retention).items()},
        }
        self._scripts: dict[str, tuple[str, str]] = {}

    def run_script(self, name: str, arguments: list[Any]) -> Any:
        """Run a script of `lua/` in one atomic step.

        Raises:
            StoreUnreachable, StoreFull: as `do`.
        """
        answer = self.do(lambda _: self._run(name, arguments))
        self.redo.remember(name, arguments, answer)
        return answer

    def _run(self, name: str, arguments: list[Any]) -> Any:
        source, digest = self._script(name)
        values = [self.keys.prefix, str(self.clock()) if self.clock else "", *arguments]
        try:
            return self.client.evalsha(digest, 1, *values)
        except exceptions.NoScriptError:
            return self.client.eval(source, 1, *values)

    def _script(self, name: str) -> tuple[str, str]:
        if name not in self._scripts:
            source = assemble(name, self._config)
            self._scripts[name] = source, sha1(source.encode(), usedforsecurity=False).hexdigest()
        return self._scripts[name]

    def do(self, command: Callable[[redis.Redis], Any]) -> Any:
        """Run a command, waiting for a Redis that is away, is loading, or takes no writes.

        Raises:
            StoreUnreachable: it did not come back within `patience` seconds, or does not let this process in.
            StoreFull: it answers, and takes no writes.
            RecordBroken: what it holds is no text, or not of the kind expected.
            UsageError: what it is asked for is no text.
        """
        give_up = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while True:
            try:
                self.redo.settle(self._run)
                answer = command(self.client)
                self.redo.heard()
                return answer
            except StartedAnew:
                continue  # which it is in at most once for each start
            except exceptions.RedisError as error:
                problem = self._translated(error)
                if isinstance(problem, errors.StoreUnreachable):
                    self.redo.doubt()
                if not problem.retryable or time.monotonic() + pause > give_up or self.closing.is_set():
                    raise problem from error
            except UnicodeDecodeError as error:
                raise errors.RecordBroken(where=self.where, reason="it holds bytes that are not UTF-8.") from error
            except UnicodeEncodeError as error:
                half = error.object[error.start : error.end]
                reason = f"{half!r} is no Unicode text, so nothing in the store has it in its name."
                raise errors.UsageError(reason=reason) from error
            finally:
                if self.closing.is_set():
                    self._disconnect()  # this thread was at work when another one closed, and has just given its own back
            # Not a poll: the pause is the back-off between two tries, cut short when the process closes.
            self.closing.wait(pause * random.SystemRandom().uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _translated(self, error: exceptions.RedisError) -> errors.CrewqError:
        reason = (str(error).splitlines()[0] if str(error) else type(error).__name__).rstrip(".") + "."
        if isinstance(error, exceptions.AuthenticationError):
            return _final(errors.StoreUnreachable(url=self.where, reason=f"it refuses the password: {reason}"))
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            advice = "Name the certificate of who signed it, if that is one of your own: rediss://...?ssl_ca_certs=FILE"
            return _final(errors.StoreUnreachable(url=self.where, reason=f"{reason}\n{advice}"))
        if isinstance(error, WAITS_FOR):
            return errors.StoreUnreachable(url=self.where, reason=reason)
        if isinstance(error, exceptions.OutOfMemoryError | exceptions.ReadOnlyError) or any(
            word in reason for word in REFUSES_WRITES
        ):
            return errors.StoreFull(url=self.where, reason=reason)
        return errors.RecordBroken(where=self.where, reason=reason)

    def read_stream(self, name: str, after: str, wait: float, count: int) -> list[tuple[str, dict[str, str]]]:
        """The next entries of a stream after the one of that id, waiting up to `wait` seconds for the first."""

        def command(client: redis.Redis) -> Any:
            return client.xread({name: after}, count=count, block=int(wait * 1000) if wait else None)

        answer: Any = self.do(command) or {}
        parts = answer.values() if isinstance(answer, dict) else (part for _, part in answer)
        entries = [entry for part in parts for entry in part]
        return [one for entry in entries for one in (entry if isinstance(entry, list) else [entry])]

    def ends(self, after: str, wait: float) -> Ends:
        """What the feed of ends has after an entry; `$`: only the newest entry."""
        feed = self.keys.named("ended")
        if after == "$":
            newest = self.do(lambda client: client.xrevrange(feed, count=1))
            return Ends(newest[0][0] if newest else "0-0")
        entries = self.read_stream(feed, after, wait, count=1000)
        told = [fields for _, fields in entries]
        return Ends(
            entries[-1][0] if entries else after,
            tuple(one["id"] for one in told if one["id"]),
            tuple((one["paused"], one["batch"]) for one in told if "paused" in one),
        )

    def check(self) -> dict[str, Any]:
        """What the server says of itself, once it is known to be fit.

        Raises:
            StoreUnreachable: there is none.
            StoreUnfit: it is older than 6.2, is not what its address says (one server, or a cluster), or may evict what it
                holds.
        """
        about = cast(dict[str, Any], self.do(lambda client: client.info()))
        version = tuple(int(part) for part in str(about.get("redis_version", "0.0")).split(".")[:2])
        if version < OLDEST_SERVER:
            wanted = ".".join(map(str, OLDEST_SERVER))
            raise errors.StoreUnfit(
                url=self.where, reason=f"it is version {about.get('redis_version')}.", advice=f"Use {wanted} or later."
            )
        mode = about.get("redis_mode", about.get("server_mode", ""))  # Valkey calls it otherwise
        if advice := UNFIT.get((self._kind, mode)):
            raise errors.StoreUnfit(url=self.where, reason=f"it is {MODES[mode]}.", advice=advice)
        policy = about.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise errors.StoreUnfit(
                url=self.where,
                reason=f"its maxmemory-policy is {policy}, so it may throw runs away when its memory is full.",
                advice="Set it: redis-cli CONFIG SET maxmemory-policy noeviction",
            )
        return about

    def wait_for_disk(self) -> None:
        """Before this process ends, wait until Redis has on its disk what the process did last, a second at most: afterwards
        nobody is left to do it again. A Redis without an append-only file, or before 7.2, cannot say so, and is not waited for.
        """

        def command(client: redis.Redis) -> Any:
            # Redis tells of what a connection wrote itself, and all connections write to one file.
            pipeline = client.pipeline(transaction=False)
            pipeline.set(self.keys.named("parting"), "", px=1)
            pipeline.waitaof(1, 0, ON_DISK_WITHIN_MS)
            return pipeline.execute()

        with suppress(errors.StoreError):
            self.do(command)

    def close(self) -> None:
        """Give the connections back, and let whoever waits for Redis stop waiting."""
        self.closing.set()
        self._disconnect()

    def _disconnect(self) -> None:
        self.client.connection_pool.disconnect(inuse_connections=False)


def _final(error: errors.CrewqError) -> errors.CrewqError:
    error.retryable = False  # type: ignore[misc]  # this one, not its class
    return error


def _client(url: str, prefix: str, connections: int, answer_within: float, redo: Redo) -> redis.Redis:
    def greet(connection: Any) -> None:
        connection.on_connect()
        connection.send_command("INFO")
        about = connection.read_response()
        if sought and REPLICA.search(about):  # who was asked does not know better yet
            raise exceptions.ConnectionError(f"{connection.host}:{connection.port} is not the master")
        if redo.meet(" ".join(START.findall(about))):
            raise StartedAnew

    sought = {}
    try:
        address = read_address(url)
        if address.kind != "server":
            sought = {"connection_class": connection_class(address, prefix)}
        pool = redis.BlockingConnectionPool.from_url(
            address.url,
            **sought,
            max_connections=connections,
            timeout=None,
            decode_responses=True,
            socket_timeout=answer_within,
            socket_connect_timeout=CONNECT_WITHIN,
            socket_keepalive=True,
            health_check_interval=25,
            client_name="crewq-store",
            redis_connect_func=greet,
            retry=Retry(NoBackoff(), 0),  # `do` tries again itself, and must learn of every connection that was lost
        )
        pool.connection_class(**pool.connection_kwargs)  # which reads the options of the URL, and does not connect yet
    except (ValueError, TypeError) as error:
        raise errors.SettingInvalid(
            variable="CREWQ_REDIS_URL",
            value=without_password(url),
            reason=f"it cannot be read as a Redis URL: {errors.explain(error)}.",
        ) from error
    return redis.Redis(connection_pool=pool)


__all__ = ["ANSWER_WITHIN", "CLIENT_PATIENCE", "Connection", "Ends", "StartedAnew"]
