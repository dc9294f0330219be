"""Celery's messages and commands with proof that their sender has a key: HMAC-SHA-256 over what they say and do.

It is there where texts are encrypted, and with the same keys: Celery's own signed messages are of certificates, and leave its
commands as they are. A message that has no proof, or one that is not its own, is dropped; what it was about is ready in the
store, and sent again by a sweeper that has the key. A message or command that *was* sent can be sent again by whoever kept it.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from celery import Celery
from celery.app.control import Control
from kombu.pidbox import Mailbox, Node
from kombu.utils.json import dumps

from crewq.keyring import PLAIN, Key

log = logging.getLogger("crewq.authentic")

CODE: Final = "crewq_mac"  # the header of a message, and the argument of a command, that holds the proof


class Authenticator:
    """What makes proofs and looks at them.

    Args:
        keys: the first makes them; each of them is believed. With `plain` among them, what has no proof is believed too; as
            the first, it makes none.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = {key.id: key for key in keys if key.id != PLAIN}
        self._first = keys[0].id
        self._takes_plain = any(key.id == PLAIN for key in keys)

    def code(self, purpose: str, content: Any) -> str:
        """The proof of a content, which JSON can hold; empty: none is made."""
        return "" if self._first == PLAIN else self._code(self._first, purpose, content)

    def objection(self, purpose: str, content: Any, code: object) -> str:
        """Why a content is not believed; empty: it is."""
        if not code:
            return (
                "" if self._takes_plain else "it has no authentication code: who sent it has no CREWQ_ENCRYPTION_KEYS"
            )
        name = str(code).partition(":")[0]
        if name not in self._keys:
            return f"its authentication code is made with a key {name[:40]!r}, which CREWQ_ENCRYPTION_KEYS does not have here"
        right = hmac.compare_digest(self._code(name, purpose, content).encode(), str(code).encode(errors="replace"))
        return "" if right else "its authentication code is not its own: somebody without a key wrote or changed it"

    def _code(self, name: str, purpose: str, content: Any) -> str:
        text = dumps(content, sort_keys=True)
        return f"{name}:{hmac.digest(self._keys[name].derived(f'message {purpose}'), text.encode(), 'sha256').hex()}"


class _Receiver(Node):
    """A worker's end of Celery's remote control."""

    def handle_message(self, body: dict[str, Any], message: Any = None) -> Any:
        arguments = dict(body.get("arguments") or {})
        code = arguments.pop(CODE, None)
        bare = {**body, "arguments": arguments}
        authenticator = cast(_Commands, self.mailbox).authenticator
        if problem := authenticator.objection("command", _told(bare), code):
            log.error("ignored the command %.40r: %s", body.get("method"), problem)
            return None
        return super().handle_message(bare, message)


class _Commands(Mailbox):
    """The other end."""

    node_cls = _Receiver

    def __init__(self, *args: Any, authenticator: Authenticator, **options: Any) -> None:
        super().__init__(*args, **options)
        self.authenticator = authenticator

    def _publish(self, type: str, arguments: dict[str, Any], **options: Any) -> None:  # type: ignore[override]  # noqa: A002 - as Mailbox has it
        told = _told({**options, "method": type, "arguments": arguments})
        code = self.authenticator.code("command", told)
        super()._publish(type, {**arguments, CODE: code} if code else arguments, **options)


class AuthenticControl(Control):
    """Celery's remote control, with proofs.

    Args:
        app: whose it is.
        authenticator: makes them and looks at them.
    """

    def __init__(self, app: Celery, authenticator: Authenticator) -> None:
        self.Mailbox = partial(_Commands, authenticator=authenticator)  # type: ignore[assignment]  # it is called only
        super().__init__(app)


def _told(command: Mapping[str, Any]) -> list[Any]:
    return [command.get(name) for name in ("method", "arguments", "destination", "pattern", "matcher")]


__all__ = ["CODE", "AuthenticControl", "Authenticator"]
