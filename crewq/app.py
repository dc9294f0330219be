"""The Celery app and its settings. Nothing in crewq keeps one at module level: who needs one makes it."""

from __future__ import annotations

from functools import partial
from ssl import CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery import Celery

from crewq import errors
from crewq.addresses import Address, read_address, with_option, without_password
from crewq.authentic import Authenticator, AuthenticControl
from crewq.masters import asking
from crewq.messages import QUORUM, Messages, QuorumQueues
from crewq.settings import AMQP, Settings

TASK_JOB = "crewq.task"
PROBE_JOB = "crewq.probe"

# Lower goes first. A task of a run that has begun goes before the first task of a new one, so that runs end one after
# the other and not all at the end; of the same urgency, a single kickoff goes before those of a batch.
# The store tells them apart by their being even: see store/lua/_lines.lua.
PRIORITY_LATER = 0
PRIORITY_SINGLE = {"high": 1, "normal": 3, "low": 7}
PRIORITY_BATCH = {"high": 2, "normal": 6, "low": 8}
PRIORITY_STEPS = sorted({PRIORITY_LATER, *PRIORITY_SINGLE.values(), *PRIORITY_BATCH.values()})

CERTIFICATE: Final = "ssl_cert_reqs"  # of an address: required, optional or none
MOST_URGENT_THERE = 9  # for RabbitMQ, where higher goes first
CONFIRMED_WITHIN = 5  # seconds that RabbitMQ may take to say that it keeps a message; one that is full says nothing
BACKEND = "crewq.backend:Backend"
TRANSPORT = "crewq.messages:Transport"
RESULT_EXPIRES = 86_400  # seconds that Celery keeps a result; crewq's own record of the run is kept longer
BROKER_OPTIONS: dict[str, Any] = {
    "socket_timeout": 30,  # without it, publishing to a dead peer hangs for ever
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    # A message is acknowledged as soon as it is taken: to keep it in Redis until then would cost two round trips a task.
    "ack_emulation": False,
    "queue_order_strategy": "priority",
    "priority_steps": PRIORITY_STEPS,  # each is a list of its own in Redis, and all are asked at once, in this order
    "client_name": "crewq-broker",
}


def make_app(settings: Settings) -> Celery:
    """A Celery app for producers and workers.

    A message is acknowledged when it is taken, and nothing is prefetched: who works on what is decided by leases in the
    store, and a message that was lost is sent again by the sweeper.

    Raises:
        SettingInvalid: Celery's messages cannot be where the settings say.
    """
    broker = _broker(settings)
    clustered = read_address(settings.redis_url or "").kind == "cluster"
    backend = f"{BACKEND}+{verified(settings.redis_url)}" if settings.redis_url else None
    app = Celery("crewq", broker=broker["broker_url"], backend=backend, set_as_current=False)
    app.conf.update(
        # Named here too, as Celery would let CELERY_BROKER_URL, which another program's settings may hold, come before.
        broker_read_url=broker["broker_url"],
        broker_write_url=broker["broker_url"],
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        task_default_queue=settings.queue,
        task_create_missing_queues=True,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 5, "interval_start": 0.1, "interval_step": 0.5, "interval_max": 3},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        # On a cluster, all results are in the slot that everything is in.
        result_backend_transport_options={"global_keyprefix": f"{{{settings.namespace}}}:"} if clustered else {},
        redis_socket_timeout=30,
        redis_socket_keepalive=True,
        redis_backend_health_check_interval=25,
        result_expires=RESULT_EXPIRES,
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_track_started=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_pool="crewq.pool:CrewPool",
        worker_consumer="crewq.consumer:Consumer",
        worker_concurrency=settings.concurrency,
        worker_soft_shutdown_timeout=30,
        beat_scheduler="crewq.beat:Scheduler",
        **{name: value for name, value in broker.items() if name != "broker_url"},
    )
    authenticator = Authenticator(settings.encryption_keys) if settings.encryption_keys else None
    app.amqp_cls = partial(Messages, authenticator=authenticator)  # type: ignore[assignment]  # Celery takes classes too
    if authenticator:
        app.control_cls = partial(AuthenticControl, authenticator=authenticator)  # type: ignore[assignment]  # likewise
    if app.conf.task_default_queue_type == QUORUM:
        app.amqp.queues_cls = QuorumQueues
    return app


def how_sent(app: Celery, priority: int) -> dict[str, Any]:
    """What a message is sent with, so that its broker lets it go in its turn."""
    if app.conf.task_default_queue_type == QUORUM:
        return {"priority": MOST_URGENT_THERE - priority, "confirm_timeout": CONFIRMED_WITHIN}
    return {"priority": priority}


def _broker(settings: Settings) -> dict[str, Any]:
    """What Celery has to know of its broker."""
    url = verified(settings.broker)
    if urlsplit(url).scheme in AMQP:
        return _rabbitmq(url)
    address = read_address(url)
    if address.kind == "cluster":
        raise errors.SettingInvalid(
            variable="CREWQ_BROKER_URL",
            value=without_password(settings.broker_url or ""),
            reason="runs are kept in a Redis Cluster, where Celery's messages cannot be: name a Redis that is none, or RabbitMQ"
            " (amqp://host:5672//).",
        )
    redis = {"broker_url": url, "worker_disable_prefetch": True, "broker_transport_options": BROKER_OPTIONS}
    return redis | (_sentinels(address) if address.kind == "sentinel" else {"broker_transport": TRANSPORT})


def _sentinels(address: Address) -> dict[str, Any]:
    """How kombu is told: by an address for each of them, and the rest beside it."""
    parts = urlsplit(address.url)
    user, at, _ = parts.netloc.rpartition("@")
    tls = {key: value for key, value in address.options.items() if key.startswith("ssl_")}
    return {
        "broker_url": ";".join(f"sentinel://{user}{at}{host}{parts.path}" for host in address.places),
        "broker_transport_options": {
            **BROKER_OPTIONS,
            "master_name": address.master,
            "sentinel_kwargs": asking(address),
        },
        "broker_use_ssl": tls if address.tls else None,
    }


def _rabbitmq(url: str) -> dict[str, Any]:
    """Quorum queues, which outlive a node; and an answer to each message that was sent, once it is kept."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    tls: dict[str, Any] = {key.removeprefix("ssl_"): value for key, value in options.items() if key.startswith("ssl_")}
    if "cert_reqs" in tls:
        tls["cert_reqs"] = {"required": CERT_REQUIRED, "optional": CERT_OPTIONAL, "none": CERT_NONE}[tls["cert_reqs"]]
    if tls.get("cert_reqs") != CERT_NONE:
        tls["server_hostname"] = parts.hostname  # which the certificate has to be for
    query = urlencode([(key, value) for key, value in options.items() if not key.startswith("ssl_")])
    return {
        "broker_url": urlunsplit(parts._replace(scheme="amqp", query=query)),
        "broker_transport_options": {"confirm_publish": True},
        "broker_use_ssl": tls if parts.scheme == "amqps" else None,
        "broker_heartbeat": 30,
        "worker_disable_prefetch": False,  # is for Redis: what crewq has in its place is in consumer.py
        "worker_enable_prefetch_count_reduction": False,  # which would, after a reconnection, take in more than one at a time
        "task_default_queue_type": QUORUM,
        "task_create_missing_queue_type": QUORUM,
    }


def verified(url: str) -> str:
    """The address of a Redis, where it is one with TLS, with a certificate that is looked at unless it says otherwise itself.

    redis-py's own default; Celery's results refuse an address that does not say, and its broker looks at no certificate then.
    """
    return with_option(url, CERTIFICATE, "required") if urlsplit(url).scheme.startswith("rediss") else url


__all__ = [
    "PRIORITY_BATCH",
    "PRIORITY_LATER",
    "PRIORITY_SINGLE",
    "PRIORITY_STEPS",
    "PROBE_JOB",
    "TASK_JOB",
    "how_sent",
    "make_app",
    "verified",
]
