"""What Prometheus reads: the totals and gauges of the store, as they stand at the moment of a scrape.

Nothing is counted here or in a worker's memory, so any process can tell all of it, and no restart of one sets it back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from crewq import errors
from crewq.store import BOUNDS, METERS, Meter, Reading, Series, Store

log = logging.getLogger("crewq.exporter")

PREFIX = "crewq_"
GAUGES = {
    "tasks_queued": "Tasks that wait for a worker.",
    "tasks_running": "Tasks that a worker has.",
    "tasks_delayed": "Tasks that wait for a time: to be tried again, or for a limit of a provider.",
}


class StoreCollector(Collector):
    """Reads the store whenever somebody asks.

    Args:
        store: of the installation. One that cannot be reached is told as `crewq_store_up 0`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Every metric, in one reading."""
        try:
            reading = self._store.metrics.read()
        except errors.StoreError as error:
            log.warning("no metrics can be read: %s", error)
            yield _gauge("store_up", "Whether Redis answered.", 0)
            return
        yield _gauge("store_up", "Whether Redis answered.", 1)
        yield from _standing(reading)
        for meter in METERS:
            yield _total(meter, reading.totals) if meter.kind == "total" else _histogram(meter, reading.histograms)


def registry_of(store: Store) -> CollectorRegistry:
    """A registry that holds the metrics of a store and nothing else."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    return registry


def exposition(store: Store, accept: str = "") -> tuple[bytes, str]:
    """The metrics as a text that Prometheus reads, and its content type.

    Args:
        store: of the installation.
        accept: what the one who asks understands, as HTTP has it; empty: Prometheus's own format.
    """
    encode, content_type = choose_encoder(accept)
    return encode(registry_of(store)), content_type


def _standing(reading: Reading) -> Iterator[Metric]:
    """How things stand now."""
    for name, what in GAUGES.items():
        yield _gauge(name, what, reading.gauges[name])
    active = reading.gauges["tasks_queued"] + reading.gauges["tasks_running"]
    yield _gauge("tasks_active", "Tasks that want a worker now, queued or running: what to scale by.", active)
    queued = GaugeMetricFamily(f"{PREFIX}lane_tasks_queued", "Likewise, by queue and priority.", labels=_LANE)
    oldest = GaugeMetricFamily(f"{PREFIX}lane_oldest_seconds", "How long the first of those waits.", labels=_LANE)
    for lane in reading.lanes:
        queued.add_metric(lane.name.rsplit("/", 1), lane.queued)
        oldest.add_metric(lane.name.rsplit("/", 1), lane.oldest)
    yield from (queued, oldest)
    runs = GaugeMetricFamily(f"{PREFIX}runs_kept", "Runs that Redis holds.", labels=["state"])
    for state, count in reading.runs.items():
        runs.add_metric([state], count)
    yield runs
    yield _gauge("workers", "Worker processes that gave a sign of life within the last minute.", len(reading.slots))
    yield _gauge("worker_slots", "How many tasks those can work on at once.", sum(reading.slots))


_LANE = ["queue", "priority"]


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", what, value)


def _total(meter: Meter, totals: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{meter.name}", meter.help, labels=meter.labels)
    first = [(value,) for value in meter.values] if meter.labels else [()]
    counted = dict.fromkeys(first, 0.0) | {key[1:]: total for key, total in totals.items() if key[0] == meter.name}
    for labels, total in counted.items():
        family.add_metric(labels, total)
    return family


def _histogram(meter: Meter, histograms: Mapping[tuple[str, ...], Series]) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}{meter.name}", meter.help, labels=meter.labels)
    bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
    first: dict[tuple[str, ...], Series] = {} if meter.labels else {(): Series()}
    for labels, series in (first | {key[1:]: one for key, one in histograms.items() if key[0] == meter.name}).items():
        family.add_metric(labels, list(zip(bounds, series.buckets, strict=True)), series.seconds)
    return family


__all__ = ["GAUGES", "PREFIX", "StoreCollector", "exposition", "registry_of"]
