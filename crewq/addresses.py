"""Addresses of Redis: of one server, of sentinels that know which of several is the master, or of a cluster's nodes.

    redis://[user:password@]host[:6379][/db][?option=...]       and rediss:// with TLS
    redis+sentinel://[user:password@]host[:26379],.../master[/db][?sentinel_password=...]
    redis+cluster://[user:password@]host[:6379],...

User and password are those of Redis itself; sentinels have their own. With TLS, sentinels are spoken to by it as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from crewq import errors

Kind = Literal["server", "sentinel", "cluster"]

SERVER_SCHEMES = ("redis", "rediss")
KINDS: dict[str, Kind] = {"sentinel": "sentinel", "cluster": "cluster"}  # by what follows a `+`
PORTS = {"sentinel": 26379, "cluster": 6379}
OF_SENTINELS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class Address:
    """Where Redis is.

    Fields:
        kind: whether it is one server's, or is asked for.
        url: of one server. Where that is asked for, it has all but the host and the port, which are of the first to ask.
        hosts: whom to ask, each with its port.
        master: what the sentinels call it.
        login: with the sentinels: `username` and `password`.
    """

    kind: Kind
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    master: str = ""
    login: tuple[tuple[str, str], ...] = ()

    @property
    def tls(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.url.startswith("rediss:")

    @property
    def places(self) -> tuple[str, ...]:
        """Whom to ask, each as host:port."""
        return tuple(_written(host, port) for host, port in self.hosts)

    @property
    def options(self) -> dict[str, str]:
        """What the address says behind the question mark."""
        return dict(parse_qsl(urlsplit(self.url).query))


def read_address(url: str) -> Address:
    """The parts of an address.

    Raises:
        ValueError: it is none, and why: a UsageError, or what Python itself found.
    """
    parts = urlsplit(url)
    scheme, _, word = parts.scheme.partition("+")
    kind = KINDS.get(word)
    if kind is None or scheme not in ("redis", "rediss"):
        if parts.port == 0:
            raise errors.UsageError(reason="its port cannot be one")
        return Address("server", url)
    user, at, hosts = parts.netloc.rpartition("@")
    ask = tuple(_host(host, PORTS[kind]) for host in hosts.split(",") if host)
    if not ask:
        raise errors.UsageError(reason=f"it names no {'sentinel' if kind == 'sentinel' else 'node of the cluster'}")
    path = [unquote(part) for part in parts.path.split("/") if part]
    master = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not master:
        raise errors.UsageError(
            reason="it does not say what the sentinels call the master: redis+sentinel://host:26379/NAME"
        )
    db = path.pop(0) if path else "0"
    if path or not db.isdecimal() or (kind == "cluster" and db != "0"):
        raise errors.UsageError(
            reason="a cluster has the database 0 only" if kind == "cluster" else f"{db!r} is no number of a database"
        )
    options = parse_qsl(parts.query)
    login = tuple((key.removeprefix("sentinel_"), value) for key, value in options if key in OF_SENTINELS)
    query = urlencode([(key, value) for key, value in options if key not in OF_SENTINELS])
    one = urlunsplit((scheme, f"{user}{at}{_written(*ask[0])}", f"/{db}", query, ""))
    return Address(kind, one, ask, master, login)


def without_password(url: str) -> str:
    """`url` as it may be shown and logged."""
    if not is_address(url):
        return "a URL that cannot be read"
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, _, own = user.partition(":")
    if own:
        url = urlunsplit(parts._replace(netloc=f"{name}:***{at}{host}"))
    return re.sub(r"([?&](?:sentinel_)?password=)[^&]*", r"\1***", url)


def with_password(url: str, password: str) -> str:
    """`url` with a password, if it has none of its own."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, _, own = user.partition(":")
    if not password or own:
        return url
    return urlunsplit(parts._replace(netloc=f"{name}:{quote(password, safe='')}@{host}"))


def with_option(url: str, key: str, value: str) -> str:
    """`url` with an option behind the question mark, if it does not say so itself."""
    parts = urlsplit(url)
    if key in dict(parse_qsl(parts.query)):
        return url
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, f"{key}={value}")))))


def is_address(url: str) -> bool:
    """Whether it can be read at all."""
    try:
        read_address(url)
    except ValueError:
        return False
    return True


def _host(text: str, standard: int) -> tuple[str, int]:
    parts: SplitResult = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0:
        raise errors.UsageError(reason=f"{text!r} is no host")
    return parts.hostname, parts.port or standard


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


__all__ = [
    "SERVER_SCHEMES",
    "Address",
    "Kind",
    "is_address",
    "read_address",
    "with_option",
    "with_password",
    "without_password",
]
