"""The way to a real Redis: patience, what is said of its failures, and that nothing is left open."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from crewq import errors
from crewq.settings import Settings
from crewq.store import Store
from crewq.store.connection import CONNECT_WITHIN, HEAL_MS, LONGEST_PAUSE
from tests.store.world import ONE, World
from tests.waiting import until

NOWHERE = Settings(redis_url="redis://:hunter2@localhost:1/0")


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    store = Store(Settings(redis_url=redis_url))
    yield store
    store.close()


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)


def test_a_fit_server_is_found_fit(store: Store) -> None:
    assert "redis_version" in store.check()


def test_a_server_that_may_forget_is_unfit(store: Store, admin: redis.Redis) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(errors.StoreUnfit, match="allkeys-lru"):
        store.check()


def test_a_server_that_is_not_there_is_waited_for_as_long_as_patience_lasts() -> None:
    store = Store(NOWHERE, patience=0.3)
    began = time.monotonic()
    with pytest.raises(errors.StoreUnreachable) as caught:
        store.runs.latest(1)
    assert 0.1 < time.monotonic() - began < 3
    assert "hunter2" not in str(caught.value)
    assert caught.value.retryable


def test_whoever_lost_a_healed_redis_is_back_before_anybody_else_takes_over() -> None:
    assert CONNECT_WITHIN + LONGEST_PAUSE < HEAL_MS / 1000


def test_a_process_that_closes_stops_waiting() -> None:
    store, caught = Store(NOWHERE, patience=600), []

    def ask() -> None:
        try:
            store.runs.latest(1)
        except errors.StoreUnreachable as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    store.close()
    thread.join(10)
    assert len(caught) == 1


def test_a_wrong_password_is_not_waited_for(redis_url: str) -> None:
    store = Store(
        Settings(redis_url=redis_url.replace(":", ":wrong", 2).replace("redis:wrong", "redis:")), patience=600
    )
    with pytest.raises(errors.StoreUnreachable, match="password") as caught:
        store.runs.latest(1)
    assert not caught.value.retryable
    assert errors.StoreUnreachable.retryable, "only this one is final"
    store.close()


def test_a_full_server_is_said_to_be_full(redis_url: str, admin: redis.Redis) -> None:
    world = World(admin, Settings(redis_url=redis_url))
    world.store = Store(world.settings, patience=0)
    world.runs = world.store.runs
    admin.config_set("maxmemory", 1)
    with pytest.raises(errors.StoreFull) as caught:
        world.accept(ONE)
    assert caught.value.retryable
    admin.config_set("maxmemory", 0)
    assert world.accept(ONE)
    world.store.close()


def test_scripts_are_loaded_again_after_the_server_forgot_them(store: Store, admin: redis.Redis) -> None:
    store.runs.sweep(grace=1, max_attempts=3)
    admin.script_flush()
    assert store.runs.sweep(grace=1, max_attempts=3).jobs == ()


def test_a_connection_that_was_cut_is_made_again(store: Store, admin: redis.Redis) -> None:
    store.runs.latest(1)
    admin.client_kill_filter(_type="normal", skipme=True)
    assert store.runs.latest(1) == []


def test_a_closed_store_leaves_no_connection_open(redis_url: str, admin: redis.Redis) -> None:
    def ours() -> int:
        return sum(client["name"] == "crewq-store" for client in admin.client_list())

    until(lambda: ours() == 0)
    store = Store(Settings(redis_url=redis_url))
    store.runs.latest(1)
    assert ours() == 1
    store.close()
    until(lambda: ours() == 0)


def test_a_store_closed_while_it_reads_leaves_no_connection_open(redis_url: str, admin: redis.Redis) -> None:
    def readers() -> int:
        return sum(one["name"] == "crewq-store" and one["cmd"] == "xread" for one in admin.client_list())

    before = readers()
    store = Store(Settings(redis_url=redis_url))
    reading = threading.Thread(target=store.ends, args=("0-0", 0.5))
    reading.start()
    until(lambda: readers() > before)
    store.close()
    reading.join(10)
    until(lambda: readers() == before)
