# mypy: disable-error-code="empty-body"
"""The scripts of the store, one method each; what they do stands at the head of `lua/<name>.lua`."""

from __future__ import annotations

from typing import Any

from crewq.settings import Settings
from crewq.store.cipher import Cipher
from crewq.store.connection import Connection
from crewq.store.scripts import verb
from crewq.store.vault import Vault


class Verbs(Connection):
    """A connection that can change states. All arguments are given by name; every verb is one atomic step.

    Raises, all of them:
        StoreUnreachable, StoreFull: Redis did not come back within the connection's patience.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(settings, **options)
        self.vault = Vault(self.keys, self.do, Cipher(settings.encryption_keys))

    @verb
    def create_runs(self, *, document: str, blobs: bytes) -> list[str]: ...

    @verb
    def create_batch(self, *, batch: str, crew: str, key: str, fingerprint: str, terms: str) -> str: ...

    @verb
    def open_batch(self, *, batch: str, window: int) -> list[str]: ...

    @verb
    def abandon_batch(self, *, batch: str) -> int: ...

    @verb
    def start_task(
        self, *, run: str, index: int, claim: str, worker: str, lease_ms: int, alone_from: int
    ) -> list[str]: ...

    @verb
    def restore_claim(self, *, run: str, index: int, attempt: int, claim: str, worker: str, lease_ms: int) -> int: ...

    @verb
    def note_worker(self, *, worker: str, about: str) -> int: ...

    @verb
    def complete_task(
        self, *, run: str, index: int, attempt: int, state: str, output: str, messages: str, blobs: bytes
    ) -> list[str]: ...

    @verb
    def fail_task(
        self, *, run: str, index: int, attempt: int, kind: str, problem: str, traceback: str, blobs: bytes
    ) -> list[str]: ...

    @verb
    def requeue_task(
        self, *, run: str, index: int, attempt: int, reason: str, word: str, delay_ms: int, counts: int
    ) -> list[str]: ...

    @verb
    def renew_leases(self, *, lease_ms: int, held: str) -> list[str]: ...

    @verb
    def cancel_run(self, *, run: str) -> list[str]: ...

    @verb
    def sweep(self, *, grace_ms: int, max_attempts: int, limit: int) -> list[str]: ...

    @verb
    def note_delivery(self, *, lane: str, sent_ms: int) -> int: ...

    @verb
    def begin_call(
        self, *, run: str, index: int, attempt: int, call: str, kind: str, name: str, repeatable: int, shared: str
    ) -> list[str]: ...

    @verb
    def finish_call(
        self,
        *,
        run: str,
        index: int,
        attempt: int,
        call: str,
        kind: str,
        name: str,
        answer: str,
        failed: int,
        usage: str,
        seconds: float,
        blobs: bytes,
    ) -> list[str]: ...

    @verb
    def restore_call(self, *, run: str, index: int, attempt: int, call: str, kind: str, name: str) -> int: ...

    @verb
    def fail_call(self, *, run: str, index: int, attempt: int, call: str, kind: str, name: str) -> list[str]: ...

    @verb
    def share_result(self, *, run: str, shared: str, result: str, blobs: bytes) -> int: ...

    @verb
    def tell_call(
        self, *, run: str, index: int, attempt: int, call: str, agent: str, offset: int, tool: str, piece: str
    ) -> list[str]: ...

    @verb
    def pause_task(
        self, *, run: str, index: int, attempt: int, reason: str, call: str, draft: str, budget: str, blobs: bytes
    ) -> list[str]: ...

    @verb
    def answer_person(self, *, run: str, index: int, call: str, answer: str, blobs: bytes) -> list[str]: ...

    @verb
    def resume_run(
        self, *, run: str, decision: str, spec: str, stamp: str, max_cost: str, max_tokens: str
    ) -> list[str]: ...

    @verb
    def raise_batch(self, *, batch: str, max_cost: str, max_tokens: str) -> list[str]: ...

    @verb
    def reserve_call(self, *, run: str, index: int, attempt: int, call: str, limits: str, charge: str) -> list[str]: ...

    @verb
    def settle_call(
        self, *, run: str, index: int, attempt: int, call: str, limits: str, at: int, used: int
    ) -> list[str]: ...

    @verb
    def refuse_call(
        self, *, run: str, index: int, attempt: int, call: str, limits: str, at: int, scope: str, pause_ms: int
    ) -> int: ...

    @verb
    def postpone_task(
        self, *, run: str, index: int, attempt: int, reason: str, delay_ms: int, scope: str, slots: int
    ) -> list[str]: ...

    @verb
    def audit_action(self, *, who: str, action: str, subject: str, detail: str) -> str: ...

    @verb
    def read_run(self, *, run: str) -> list[list[str]]: ...

    @verb
    def read_metrics(self) -> list[list[str]]: ...

    @verb
    def delete_run(self, *, run: str) -> list[str]: ...

    @verb
    def put_schedule(self, *, name: str, document: str, replace: int) -> str: ...

    @verb
    def due_schedules(self, *, limit: int) -> list[Any]: ...

    @verb
    def note_schedule(self, *, name: str, known: str, nominal: int, following: int, run: str, problem: str) -> int: ...

    @verb
    def remove_schedule(self, *, name: str) -> int: ...


__all__ = ["Verbs"]
