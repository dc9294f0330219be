"""Containers are scaled, killed, cut off, stopped and upgraded under load, and nothing is lost or paid for twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from crewq.events import TaskRequeued
from tests.chaos.checker import check
from tests.compose.fleet import IMAGE, docker
from tests.compose.hall import Hall, table

NEXT = f"{IMAGE}:next"
GRACE, ALLOWED = 30.0, 60.0  # seconds that tasks have to end, and that Compose gives the worker


def test_nothing_is_lost_and_nothing_is_paid_twice(image: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    with Hall(tmp_path) as hall:
        for deed in (
            scale_up, kill_one, die_and_restart, kill_all, cut_off, freeze, restart_redis, kill_redis, upgrade, stop_all,
            drain, scale_down,
        ):  # fmt: skip
            deed(hall)
        hall.settle()
        evidence = hall.evidence()
        say(table(hall, evidence))
        ended = len(evidence.runs)
        paid = sum(call.paid for call in evidence.model_calls)
        say(
            f"{ended} runs, {len(evidence.model_calls)} model calls, {paid} answered, {len(evidence.tool_calls)} tool calls"
        )
        assert check(evidence) == []


def scale_up(hall: Hall) -> None:
    with hall.deed("`up --scale worker=4`, from 1"):
        hall.scale(4)
    assert len(hall.fleet.containers("worker")) == 4


def kill_one(hall: Hall) -> None:
    with hall.deed("`docker kill` of one worker, then `up`"):
        container = hall.a_busy_worker()
        with hall.cut(container, why="killed"):
            docker("kill", container)
        hall.others_took_over(container)
        hall.scale(4)


def die_and_restart(hall: Hall) -> None:
    with hall.deed("`kill -9` in a container, which starts again by itself"):
        container = hall.a_busy_worker()
        with hall.cut(container, why="died"):
            docker("exec", container, "sh", "-c", "kill -9 $(cut -d' ' -f1 /proc/1/task/1/children)")
        hall.others_took_over(container)
    assert docker("inspect", "-f", "{{.RestartCount}} {{.State.Running}}", container) == "1 true"


def kill_all(hall: Hall) -> None:
    with hall.deed("`kill worker`: all four, then `up`"):
        with hall.cut(*hall.fleet.containers("worker"), why="killed"):
            hall.fleet.compose("kill", "worker")
        hall.scale(4)


def cut_off(hall: Hall) -> None:
    with hall.deed("one worker off the network until others have its tasks, and back"):
        container, network = hall.a_busy_worker(), f"{hall.fleet.project}_default"
        with hall.cut(container, why="off the network"):
            docker("network", "disconnect", network, container)
            hall.others_took_over(container)
            docker("network", "connect", network, container)


def freeze(hall: Hall) -> None:
    with hall.deed("`docker pause` of one worker until others have its tasks, and `unpause`"):
        container = hall.a_busy_worker()
        with hall.cut(container, why="frozen"):
            docker("pause", container)
            hall.others_took_over(container)
            docker("unpause", container)


def restart_redis(hall: Hall) -> None:
    with hall.deed("`restart redis`"), hall.outage():
        hall.fleet.compose("restart", "redis")
        hall.fleet.up("redis")


def kill_redis(hall: Hall) -> None:
    with hall.deed("`kill redis`, then `up`"), hall.outage():
        hall.fleet.compose("kill", "redis")
        hall.fleet.up("redis")


def upgrade(hall: Hall) -> None:
    release = f"FROM {IMAGE}\nENV RELEASE=next\n"
    subprocess.run(
        ["docker", "build", "-q", "-t", NEXT, "-"], input=release, text=True, check=True, capture_output=True
    )
    with hall.deed("another image: `WORKER_IMAGE=… up`"):
        hall.fleet.variables["WORKER_IMAGE"] = NEXT
        hall.scale(4)
    for container in hall.fleet.containers("worker"):
        assert docker("inspect", "-f", "{{.Config.Image}}", container) == NEXT


def stop_all(hall: Hall) -> None:
    with hall.deed("`stop worker redis`, then `up`"):
        hall.fleet.compose("stop", "worker")
        with hall.outage():
            hall.fleet.compose("stop", "redis")
            hall.scale(4)


def drain(hall: Hall) -> None:
    """The model falls silent, so that nothing ends within the grace."""
    with hall.deed("`stop worker` while the model never answers, then `up`"):
        stopped = hall.fleet.containers("worker")
        hall.fleet.exec("model", "sh", "-c", "printf silent >/output/mood")
        began = time.monotonic()
        with hall.cut(*stopped, why="stopped"):
            hall.fleet.compose("stop", "worker")
        assert GRACE < time.monotonic() - began < ALLOWED
        assert {docker("inspect", "-f", "{{.State.ExitCode}}", one) for one in stopped} == {"0"}
        hall.fleet.exec("model", "rm", "/output/mood")
        hall.scale(4)
    given = [
        event
        for run in hall.store.runs.latest(1000)
        for event in hall.store.runs.events(run, "0-0", count=1000)
        if isinstance(event, TaskRequeued) and event.reason.startswith("handed back")
    ]
    assert given, "what had not ended was handed back"


def scale_down(hall: Hall) -> None:
    with hall.deed("`up --scale worker=1`, from 4"):
        hall.scale(1)
    assert len(hall.fleet.containers("worker")) == 1
