"""Addresses of Redis and of brokers: what they say, and what Celery is told of them."""

from __future__ import annotations

import ssl
from contextlib import closing
from typing import Any

import pytest
import redis

from crewq import errors
from crewq.addresses import Address, read_address, with_password, without_password
from crewq.app import make_app
from crewq.masters import connection_class
from crewq.settings import Settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:x@h:1/2", Address("server", "redis://:x@h:1/2")),
        ("redis+sentinel://h/shop", Address("sentinel", "redis://h:26379/0", (("h", 26379),), "shop")),
        (
            "rediss+sentinel://u:p@a,b:2,[::1]:3/shop/4?sentinel_password=x%26y&ssl_ca_certs=f",
            Address(
                "sentinel",
                "rediss://u:p@a:26379/4?ssl_ca_certs=f",
                (("a", 26379), ("b", 2), ("::1", 3)),
                "shop",
                (("password", "x&y"),),
            ),
        ),
        ("redis+cluster://:p@a:7000,b", Address("cluster", "redis://:p@a:7000/0", (("a", 7000), ("b", 6379)))),
    ],
)
def test_an_address_is_read(url: str, expected: Address) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+sentinel://h", "does not say what the sentinels call the master"),
        ("redis+sentinel:///shop", "names no sentinel"),
        ("redis+sentinel://h/shop/one", "'one' is no number of a database"),
        ("redis+sentinel://h/shop/1/2", "no number"),
        ("redis+sentinel://h:0/shop", "'h:0' is no host"),
        ("redis+cluster://a:b", "Port could not be cast"),
        ("redis+cluster://", "names no node of the cluster"),
        ("redis+cluster://h/1", "a cluster has the database 0 only"),
        ("sentinel://h:26379", "that is another kind of address"),
        ("redis+other://h", "that is another kind of address"),
        ("redis://h:0", "its port cannot be one"),
    ],
)
def test_one_that_cannot_be_meant_is_refused_and_says_why(url: str, reason: str) -> None:
    for variable in ("CREWQ_REDIS_URL", "CREWQ_BROKER_URL"):
        with pytest.raises(errors.SettingInvalid, match=variable) as caught:
            Settings.from_env({variable: url})
        assert reason in str(caught.value)


@pytest.mark.parametrize("scheme", ["sqs", "memory", "amqp+tcp", "http"])
def test_a_broker_that_crewq_was_never_tried_with_is_refused(scheme: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=r"no cluster, or RabbitMQ \(amqp://"):
        Settings.from_env({"CREWQ_BROKER_URL": f"{scheme}://h"})


def test_passwords_of_several_hosts_are_never_shown() -> None:
    url = with_password("redis+sentinel://a:1,b:2/shop?sentinel_password=hunter2", "hunter2")
    assert url == "redis+sentinel://:hunter2@a:1,b:2/shop?sentinel_password=hunter2"
    assert without_password(url) == "redis+sentinel://:***@a:1,b:2/shop?sentinel_password=***"
    assert without_password("redis+cluster://:hunt/er2@a:1,b") == "a URL that cannot be read"


def conf_of(broker: str, redis_url: str = "redis://h") -> Any:
    with closing(make_app(Settings(redis_url=redis_url, broker_url=broker))) as app:
        return app.conf


def test_celery_is_told_of_sentinels() -> None:
    conf = conf_of("rediss+sentinel://u:p@a,b:2/shop/3?sentinel_password=x&ssl_ca_certs=f")
    assert conf.broker_read_url == "sentinel://u:p@a:26379/3;sentinel://u:p@b:2/3"
    assert conf.broker_transport_options["master_name"] == "shop"
    asked = conf.broker_transport_options["sentinel_kwargs"]
    tls = {"ssl_ca_certs": "f", "ssl_cert_reqs": "required"}
    assert asked.items() >= {"password": "x", "ssl": True, **tls}.items()
    assert conf.broker_use_ssl == tls
    assert conf.worker_disable_prefetch


def test_celery_looks_at_the_certificate_of_rabbitmq() -> None:
    conf = conf_of("amqps://u:p@h/v?ssl_ca_certs=f&heartbeat=5")
    assert conf.broker_read_url == "amqp://u:p@h/v?heartbeat=5"
    assert conf.broker_use_ssl == {"ca_certs": "f", "server_hostname": "h"}
    unseen = conf_of("amqps://h?ssl_cert_reqs=none")
    assert unseen.broker_use_ssl == {"cert_reqs": ssl.CERT_NONE}
    assert not conf_of("amqp://h").broker_use_ssl
    assert not conf_of("redis://h").broker_use_ssl


def test_results_are_where_the_runs_are() -> None:
    with closing(make_app(Settings(redis_url="redis+cluster://:p@a,b", broker_url="amqp://h", namespace="n"))) as app:
        backend: Any = app.backend
        assert backend.get_key_for_task("id").startswith(b"{n}:")
        assert backend.as_uri() == "redis+cluster://:***@a,b"
        assert issubclass(backend.connparams["connection_class"], redis.Connection)


@pytest.mark.parametrize("url", ["rediss+sentinel://a/shop", "rediss+cluster://a"])
def test_with_tls_the_master_is_spoken_to_by_it(url: str) -> None:
    assert issubclass(connection_class(read_address(url), "{n}:"), redis.SSLConnection)
