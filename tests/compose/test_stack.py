"""docker-compose.yml as it is: what it starts, how it is locked down, and what is secret in it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.compose.fleet import ROOT, Fleet, docker
from tests.waiting import until

KEY = "sk-a-key-that-nobody-may-see"
ADDED = 400  # megabytes that the image may be larger than what it stands on
FIRST_RUN = ("crewq", "run", "travel_plans:crew", "--input", "city=Lisbon", "--input", "days=2")


@pytest.fixture(scope="module")
def fleet(image: str, tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[Fleet]:
    key = tmp_path_factory.mktemp("keys") / "openai"
    key.write_text(f"{KEY}\n")
    for folder in key.parents[:3]:
        folder.chmod(0o755)  # pytest makes them for their owner only
    with Fleet(ROOT / "docker-compose.yml", OPENAI_API_KEY_FILE=str(key)) as fleet:
        began = time.monotonic()
        fleet.up()
        assert "Alfama" in fleet.exec("worker", *FIRST_RUN)
        say(f"from `docker compose up` to the first finished run: {time.monotonic() - began:.1f} s")
        yield fleet


def about(fleet: Fleet, service: str) -> dict[str, Any]:
    """What Docker knows of the container of a service."""
    found: dict[str, Any] = json.loads(docker("inspect", fleet.containers(service)[0]))[0]
    return found


def in_worker(fleet: Fleet, script: str) -> str:
    """What a script of sh prints in the worker's container; `$worker` is the process that works."""
    return fleet.exec("worker", "sh", "-c", f"worker=$(cut -d' ' -f1 /proc/1/task/1/children); {script}")


# -- locked down ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["redis", "worker", "flower", "beat", "metrics"])
def test_a_container_may_do_little(fleet: Fleet, service: str) -> None:
    fleet.up(service)  # of a profile, too, when it is asked for by its name
    host = about(fleet, service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    status = dict(
        line.split(":\t") for line in fleet.exec(service, "cat", "/proc/1/status").splitlines() if ":\t" in line
    )
    assert (int(status["CapEff"], 16), int(status["CapPrm"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    assert "0" not in status["Uid"].split()
    assert fleet.exec(service, "sh", "-c", "touch /here 2>&1 || echo refused").endswith("refused")


def test_only_this_machine_reaches_the_ports(fleet: Fleet) -> None:
    fleet.up("metrics")
    for service in ("redis", "flower"):
        for bindings in filter(None, about(fleet, service)["NetworkSettings"]["Ports"].values()):
            assert {one["HostIp"] for one in bindings} == {"127.0.0.1"}
    for service in ("worker", "metrics"):
        assert not any(about(fleet, service)["NetworkSettings"]["Ports"].values())


def test_code_of_a_model_runs_in_the_sandbox_there(fleet: Fleet) -> None:
    assert "The group has 5 people, who are 35.0 years old on average." in in_worker(
        fleet, "env -u OPENAI_API_KEY_FILE crewq demo"
    )


def test_the_image_is_small(image: str, say: Callable[[str], None]) -> None:
    whole, base = (int(docker("image", "inspect", "-f", "{{.Size}}", one)) / 1e6 for one in (image, "python:3.13-slim"))
    say(f"{image}: {whole:.0f} MB, of which python:3.13-slim {base:.0f} MB")
    assert whole - base < ADDED


# -- fit to work ------------------------------------------------------------------------------------------------------


def test_litellm_is_loaded_when_the_worker_is_ready(fleet: Fleet) -> None:
    assert "tokenizers" in in_worker(fleet, "cat /proc/$worker/maps"), "a library that litellm loads"


def test_a_flower_that_stands_still_is_not_healthy(fleet: Fleet) -> None:
    kind, *check = about(fleet, "flower")["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert "python" not in check, "which would be started every few seconds"
    fleet.exec("flower", *check)
    flower = "flower=$(cut -d' ' -f1 /proc/1/task/1/children)"
    fleet.exec("flower", "sh", "-c", f"{flower}; kill -STOP $flower")
    until(lambda: health(fleet, "flower") == "unhealthy", 60)
    fleet.exec("flower", "sh", "-c", f"{flower}; kill -CONT $flower")
    until(lambda: health(fleet, "flower") == "healthy", 60)


def test_a_worker_that_stands_still_is_not_healthy(fleet: Fleet) -> None:
    kind, check = about(fleet, "worker")["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD-SHELL"
    stands_still = (
        f"kill -STOP $worker; touch -d '-20 seconds' $CREWQ_HEARTBEAT_FILE; ({check}); echo $?; kill -CONT $worker"
    )
    assert in_worker(fleet, f"({check}); echo $?; {stands_still}").split() == ["0", "1"]


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_a_key_is_known_to_the_worker_and_not_to_docker(fleet: Fleet) -> None:
    assert fleet.exec("worker", "python", "-c", "import workers.app, os; print(os.environ['OPENAI_API_KEY'])") == KEY
    for container in ("worker", "flower", "redis"):
        assert KEY not in json.dumps(about(fleet, container))
    assert KEY not in fleet.log()
    assert not fleet.exec("worker", "sh", "-c", "echo $ANTHROPIC_API_KEY"), "a file that is empty is no key"


def test_the_password_is_asked_for_and_nowhere_shown(fleet: Fleet) -> None:
    password = fleet.password()
    assert len(password) >= 32
    with redis.Redis.from_url(fleet.redis_url) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    for service in ("secrets", "redis", "worker", "flower"):
        container = fleet.compose("ps", "--all", "--quiet", service)
        assert password not in docker("inspect", container)
    assert password not in fleet.log()
    assert password not in docker("top", fleet.containers("redis")[0], "-eo", "pid,args")


def test_redis_keeps_what_it_was_told(fleet: Fleet) -> None:
    with redis.Redis.from_url(fleet.redis_url, password=fleet.password()) as client:
        found = client.config_get("append*", "maxmemory*")
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "maxmemory": str(2**30)}
    assert wanted.items() <= found.items()


def test_flower_shows_nothing_without_its_password(fleet: Fleet) -> None:
    assert status_of(fleet, "/") == 401
    assert status_of(fleet, "/", fleet.exec("flower", "cat", "/run/secrets/made/flower_auth")) == 200
    assert status_of(fleet, "/", "crewq:guessed") == 401


def status_of(fleet: Fleet, path: str, user: str = "") -> int:
    """How Flower answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{fleet.flower_port}{path}")
    if user:
        request.add_header("Authorization", f"Basic {b64encode(user.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


# -- what the settings say --------------------------------------------------------------------------------------------


def test_a_key_that_cannot_be_read_is_said_and_not_ignored(fleet: Fleet, tmp_path: Path) -> None:
    command = ("docker", "run", "--rm", "--env=OPENAI_API_KEY_FILE=/run/secrets/none", fleet.variables["WORKER_IMAGE"])
    told = fleet.run("sh", "-c", f"{' '.join(command)} crewq doctor 2>&1 || echo exit $?")
    assert "OPENAI_API_KEY_FILE='/run/secrets/none' is not valid: it cannot be read" in told
    assert told.endswith("exit 2")


def test_an_optional_part_is_there_when_it_is_asked_for(fleet: Fleet) -> None:
    assert {"cli", "beat", "metrics"}.isdisjoint(fleet.compose("config", "--services").split())
    assert "1 answer: " in fleet.compose("run", "--rm", "-T", "cli")


READ = "import urllib.request as web; print(web.urlopen('http://metrics:9808/metrics', timeout=9).read().decode())"


def test_metrics_are_for_those_in_the_same_network(fleet: Fleet) -> None:
    fleet.up("metrics")
    assert 'crewq_runs_total{state="completed"} ' in fleet.exec("worker", "python", "-c", READ)
    assert health(fleet, "metrics") == "healthy"
    with redis_away(fleet):
        until(lambda: health(fleet, "metrics") == "unhealthy", 90)
        assert "crewq_store_up 0.0" in fleet.exec("worker", "python", "-c", READ)
    until(lambda: health(fleet, "metrics") == "healthy", 60)


def test_a_beat_starts_the_runs_of_a_schedule(fleet: Fleet) -> None:
    fleet.compose("up", "--detach", "beat")
    until(lambda: health(fleet, "beat") == "healthy", 60)
    fleet.exec("worker", "crewq", "schedule", "add", "pulse", *FIRST_RUN[2:], "--every", "2s")
    until(lambda: "pulse" in fleet.exec("worker", "crewq", "runs", "--state", "completed"), 60)
    fleet.exec("worker", "crewq", "schedule", "remove", "pulse")


def health(fleet: Fleet, service: str) -> str:
    """What Docker holds a container of a service to be."""
    return str(about(fleet, service)["State"]["Health"]["Status"])


@contextmanager
def redis_away(fleet: Fleet) -> Iterator[None]:
    """Have Redis answer nobody."""
    fleet.compose("pause", "redis")
    yield
    fleet.compose("unpause", "redis")
