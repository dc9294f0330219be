"""The Celery app and its settings. Nothing in crewq keeps one at module level: who needs one makes it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from celery import Celery

from crewq.settings import Settings

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
BACKEND = "crewq.backend:Backend"
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
    """
    broker = verified(settings.broker)
    backend = f"{BACKEND}+{verified(settings.redis_url)}" if settings.redis_url else None
    app = Celery("crewq", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        # Named here too, as Celery would let CELERY_BROKER_URL, which another program's settings may hold, come before.
        broker_read_url=broker,
        broker_write_url=broker,
        task_acks_late=False,
        worker_disable_prefetch=settings.broker.startswith(("redis", "rediss", "unix")),
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
        broker_transport_options=BROKER_OPTIONS if settings.broker.startswith("redis") else {},
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
    )
    return app


def verified(url: str) -> str:
    """The address of a Redis, where it is one with TLS, with a certificate that is looked at unless it says otherwise itself.

    redis-py's own default; Celery's results refuse an address that does not say, and its broker looks at no certificate then.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss" or CERTIFICATE in dict(parse_qsl(parts.query)):
        return url
    query = f"{parts.query}&{CERTIFICATE}=required" if parts.query else f"{CERTIFICATE}=required"
    return urlunsplit(parts._replace(query=query))


__all__ = [
    "PRIORITY_BATCH",
    "PRIORITY_LATER",
    "PRIORITY_SINGLE",
    "PRIORITY_STEPS",
    "PROBE_JOB",
    "TASK_JOB",
    "make_app",
    "verified",
]
