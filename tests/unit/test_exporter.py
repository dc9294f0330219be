"""What Prometheus reads, taken apart by its own parsers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fakeredis
import pytest
import redis
import yaml
from prometheus_client import parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from crewq.exporter import exposition
from crewq.store import METERS
from tests.store.world import ONE, World

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Families = Callable[[str], Iterator[Metric]]


def world() -> World:
    return World(fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True))


def values(text: str, families: Families = parser.text_string_to_metric_families) -> dict[str, float]:
    """Every value, by its name and the values of its labels, in the order of those."""
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("accept", "families", "content_type"),
    [
        ("", parser.text_string_to_metric_families, "text/plain"),
        ("text/plain", parser.text_string_to_metric_families, "text/plain"),
        (OPENMETRICS, openmetrics_families, "application/openmetrics-text"),
    ],
)
def test_both_formats_can_be_read(accept: str, families: Families, content_type: str) -> None:
    """Prometheus asks for OpenMetrics, in which no two metrics may have one name."""
    one = world()
    run = one.accept(ONE)
    one.store.journal.finish(one.call(run, attempt=one.claim(run).attempt), "x", usage='{"cost": 0.5}', seconds=2.0)
    one.runs.present("w", {"concurrency": 4})
    text, given = exposition(one.store, accept)
    assert given.startswith(content_type)
    found = values(text.decode(), families)
    names = [family.name for family in families(text.decode())]
    assert len(set(names)) == len(names)
    assert {name: found[name] for name in found if "gpt" in name and "seconds" not in name} == {
        "crewq_cost_dollars_total gpt": 0.5,
        "crewq_model_calls_total gpt answered": 1.0,
    }
    assert [found[f"crewq_model_call_seconds_bucket {le} gpt"] for le in ("1.0", "2.5", "+Inf")] == [0, 1, 1]
    assert found["crewq_model_call_seconds_sum gpt"] == 2.0
    wanted = ("store_up", "tasks_active", "tasks_queued", "tasks_running", "workers", "worker_slots")
    assert [found[f"crewq_{name}"] for name in wanted] == [1, 1, 0, 1, 1, 4]


def test_every_meter_is_told_of_from_the_beginning() -> None:
    """A total that appears with its first event has not changed yet, for who asks how fast it grows."""
    text = exposition(world().store)[0].decode()
    found = values(text)
    for meter in METERS:
        assert f"# TYPE crewq_{meter.name}" in text
        if not meter.labels:
            assert found[f"crewq_{meter.name}_{'total' if meter.kind == 'total' else 'count'}"] == 0
        for value in meter.values:
            assert found[f"crewq_{meter.name}_total {value}"] == 0


def test_a_redis_that_is_away_is_told_as_such() -> None:
    class Away(redis.Redis):
        def execute_command(self, *_: object, **__: object) -> None:
            raise redis.ConnectionError("refused")

    assert values(exposition(World(Away()).store)[0].decode()) == {"crewq_store_up": 0.0}


ROOT = Path(__file__).parents[2]
OF_OPERATIONS = re.split(r"^## ", (ROOT / "docs" / "operations.md").read_text(), flags=re.MULTILINE)
TOLD = "".join(section for section in OF_OPERATIONS if section.startswith(("Metrics\n", "What to alert on\n")))


def known_metrics() -> set[str]:
    """What Prometheus has of it: the names of all series, but for the parts of histograms."""
    text = exposition(world().store)[0].decode()
    known = {family.name for family in openmetrics_families(exposition(world().store, OPENMETRICS)[0].decode())}
    known |= {f"{name}_total" for name in known if f"# TYPE {name}_total counter" in text}
    return known - {name for name in known if f"{name}_total" in known}


def test_the_documentation_names_every_metric_and_none_that_is_not_there() -> None:
    assert set(re.findall(r"\bcrewq_\w+", TOLD)) == known_metrics()


def queries() -> list[str]:
    """What the dashboard and the rules ask."""
    board = json.loads((ROOT / "workers" / "grafana" / "crewq.json").read_text())
    rules = yaml.safe_load((ROOT / "workers" / "prometheus" / "alerts.yml").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("query", queries())
def test_the_dashboard_and_the_rules_ask_for_what_there_is(query: str) -> None:
    labels = {meter.name: meter for meter in METERS}
    asked = re.findall(r"\b(crewq_\w+)(?:\{(\w+)=\"(\w+)\"\})?", query)
    assert asked
    for name, label, value in asked:
        assert name.removesuffix("_bucket") in known_metrics()
        meter = labels.get(name.removeprefix("crewq_").removesuffix("_total"))
        if meter and label:
            assert label in meter.labels
            assert not meter.values or value in meter.values
    for grouped in re.findall(r"\bby \(([\w, ]+)\)", query):
        name = asked[0][0].removeprefix("crewq_").removesuffix("_bucket").removesuffix("_total")
        given = ("queue", "priority") if name.startswith("lane_") else labels[name].labels
        assert set(grouped.split(", ")) <= {*given, "le"}


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    board = json.loads((ROOT / "workers" / "grafana" / "crewq.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
