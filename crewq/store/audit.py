"""The audit stream: who did what by hand, such as with a button of the pages in Flower."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from crewq.store.verbs import Verbs

LOOKED_AT = 1_000  # entries at most in which those about one subject are looked for


@dataclass(frozen=True)
class Action:
    """Something that a person did. `subject` is the id of a run or a batch; `detail` holds names, never a content."""

    at: datetime
    who: str
    action: str
    subject: str
    detail: str = ""


class Audit:
    """What people did."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def note(self, who: str, action: str, subject: str, detail: str = "") -> None:
        """Write down an action, before it is carried out.

        Args:
            who: whoever is logged in, and from where.
            action: a verb, such as `cancel`.
            subject: the id of the run or the batch.
            detail: more about it, without any content.
        """
        self._verbs.audit_action(who=who, action=action, subject=subject, detail=detail)

    def latest(self, subject: str = "", count: int = LOOKED_AT) -> list[Action]:
        """The actions among the last `count`, the newest first; only those on `subject`, if one is given."""
        stream = self._verbs.keys.named("audit")
        entries = self._verbs.do(lambda client: client.xrevrange(stream, count=count))
        return [_read(entry, fields) for entry, fields in entries if subject in ("", fields["subject"])]


def _read(entry: str, fields: dict[str, str]) -> Action:
    at = datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, tz=UTC)
    return Action(at, fields["who"], fields["action"], fields["subject"], fields["detail"])


__all__ = ["Action", "Audit"]
