"""A fleet with keys: nothing that runs say lies open on Redis's disk, and who has no key is told."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from crewq.keyring import new_key
from tests.compose.fleet import ROOT, Fleet
from tests.compose.test_stack import FIRST_RUN

ON_DISK = "cat /data/appendonlydir/* | grep -c {} || true"


@pytest.fixture(scope="module")
def fleet(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    keys = tmp_path_factory.mktemp("keys") / "crewq.key"
    keys.write_text(new_key("first"))
    for folder in keys.parents[:3]:
        folder.chmod(0o755)  # pytest makes them for their owner only
    with Fleet(ROOT / "docker-compose.yml", CREWQ_ENCRYPTION_KEYS_FILE=str(keys)) as fleet:
        fleet.up()
        yield fleet


def test_what_a_run_says_is_not_on_the_disk_of_redis(fleet: Fleet) -> None:
    assert "Alfama" in fleet.exec("worker", *FIRST_RUN)
    assert fleet.exec("redis", "sh", "-c", ON_DISK.format("Alfama")) == "0"
    assert int(fleet.exec("redis", "sh", "-c", ON_DISK.format("travel"))) > 0, "what is no secret is there"


def test_who_has_no_key_is_told(fleet: Fleet) -> None:
    run = re.findall(r"\b[0-9a-f]{8}\b", fleet.exec("worker", "crewq", "runs"))[0]
    asked = f"docker compose exec -T --env CREWQ_ENCRYPTION_KEYS_FILE= worker crewq show {run}"
    told = fleet.run("sh", "-c", f"{asked} 2>&1 || echo exit $?")
    assert "CREWQ_ENCRYPTION_KEYS" in told
    assert told.endswith("exit 4")
