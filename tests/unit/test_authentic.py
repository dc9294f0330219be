"""Proofs of messages and commands: what is believed, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from crewq.app import make_app
from crewq.authentic import CODE, Authenticator
from crewq.keyring import PLAIN, Key
from crewq.messages import Messages
from crewq.plan import chain_from
from crewq.settings import Settings
from crewq.store import Job
from tests.integration.crews import crew

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
NO_KEY = Key(PLAIN, b"")
RUN = "00000000-0000-4000-8000-000000000000"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def app() -> Iterator[Celery]:
    with closing(make_app(Settings(redis_url="redis://h", encryption_keys=(NEW,)))) as made:
        yield made


def objection(content: Any, code: object, *keys: Key) -> str:
    return Authenticator(keys).objection("job", content, code)


def test_what_was_proved_with_any_of_the_keys_is_believed() -> None:
    code = Authenticator([OLD]).code("job", ["this"])
    assert objection(["this"], code, OLD) == ""
    assert objection(["this"], code, NEW, OLD) == ""
    assert "'old'" in objection(["this"], code, NEW)


def test_what_was_changed_or_proved_for_something_else_is_not() -> None:
    code = Authenticator([OLD]).code("job", ["this"])
    assert "not its own" in objection(["that"], code, OLD)
    assert "not its own" in Authenticator([OLD]).objection("command", ["this"], code)
    assert "not its own" in objection(["this"], Authenticator([Key("old", b"x" * 32)]).code("job", ["this"]), OLD)


def test_what_has_no_proof_is_believed_during_a_change_over_only() -> None:
    assert Authenticator([NO_KEY, NEW]).code("job", "") == ""
    assert objection("", None, NO_KEY, NEW) == objection("", "", NEW, NO_KEY) == ""
    assert "no authentication code" in objection("", None, NEW)
    assert "not its own" in objection("", "new:00", NEW, NO_KEY), "a wrong one never is"


@given(st.one_of(JSON, st.binary(), st.just("new:\ud800"), st.just("new:é"), st.just("new:")))
def test_no_proof_at_all_breaks_anything(code: Any) -> None:
    assert objection("", code, NEW)


@given(JSON)
def test_what_was_sent_is_what_came(content: Any) -> None:
    code = Authenticator([NEW]).code("job", content)
    assert objection(loads(dumps(content)), code, NEW) == ""


def incoming(message: Any, **headers: Any) -> SimpleNamespace:
    """A message as a worker sees it, which `headers` were put into on its way."""
    return SimpleNamespace(headers=loads(dumps(message.headers)) | headers, payload=loads(dumps(message.body)))


def sent(app: Celery) -> Any:
    """The message of a chain."""
    head: Any = chain_from(app, crew("One", "Two", "Three").spec(), Job(RUN, 0))
    return app.amqp.as_task_v2(head.options["task_id"], head.task, head.args, chain=head.options["chain"])


def test_a_message_of_a_chain_is_believed_as_it_was_sent(app: Celery) -> None:
    messages, message = cast(Messages, app.amqp), sent(app)
    assert len(message.body[2]["chain"]) == 2
    assert messages.objection(incoming(message)) == ""
    assert messages.objection(incoming(message, redelivered=True)) == "", "brokers add to headers"


@pytest.mark.parametrize("name", ["task", "id", "eta", "expires", "timelimit", CODE])
def test_nothing_that_matters_of_a_message_can_be_changed(app: Celery, name: str) -> None:
    assert cast(Messages, app.amqp).objection(incoming(sent(app), **{name: "2030-01-01T00:00:00"}))


def test_nor_can_the_jobs_that_follow(app: Celery) -> None:
    forged = incoming(sent(app))
    forged.payload[2]["chain"][0]["args"][1] = 0
    assert "not its own" in cast(Messages, app.amqp).objection(forged)


def test_without_keys_nothing_is_proved_and_all_is_believed() -> None:
    with closing(make_app(Settings(redis_url="redis://h"))) as app:
        message = sent(app)
        assert CODE not in message.headers
        assert cast(Messages, app.amqp).objection(incoming(message)) == ""
