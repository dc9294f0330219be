"""Who is let in: only this machine, unless Flower has a password or a login."""

from __future__ import annotations

import ipaddress
import socket
from typing import Protocol

from crewq import errors

HERE = ("localhost", "127.0.0.1", "[::1]")


class Doors(Protocol):
    """Those of Flower's options that say who can come in."""

    address: str
    unix_socket: str
    basic_auth: list[str] | None
    auth: str


def refuse_strangers(doors: Doors) -> None:
    """Do not start where others could come in without a password.

    Raises:
        FlowerExposed: they could.
    """
    if not is_locked(doors) and not is_private(doors):
        raise errors.FlowerExposed(address=doors.address or "all addresses of this machine")


def is_locked(doors: Doors) -> bool:
    """Whether nobody gets in without logging in; a password that is empty is none."""
    return bool(doors.auth) or is_by_password(doors)


def is_by_password(doors: Doors) -> bool:
    """Whether all who have a password have a real one."""
    known = doors.basic_auth or []
    return bool(known) and all(entry.partition(":")[2].strip() for entry in known)


def is_private(doors: Doors) -> bool:
    """Whether only programs of this machine can connect. A name counts by all the addresses that it stands for."""
    if doors.unix_socket:
        return True
    try:
        found = socket.getaddrinfo(doors.address, None) if doors.address else []
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)


def is_meant(host: str, doors: Doors) -> bool:
    """Whether a request without a password was meant for this machine, by the host that it names: a page from elsewhere can
    make its own host's name stand for this machine, and would read what is here."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return bool(doors.unix_socket) or name.lower() in HERE


__all__ = ["Doors", "is_by_password", "is_locked", "is_meant", "is_private", "refuse_strangers"]
