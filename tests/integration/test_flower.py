"""`crewq flower`: where it starts and where it does not, who is let in, and that our pages are in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import flower
import pytest

from crewq.server import Server
from tests.integration.flower_process import NAME, PASSWORD, FlowerProcess, free_port
from tests.integration.worker_process import ROOT, environment
from tests.waiting import until

PAGES = ("/crewq/runs", "/crewq/runs/1f", "/crewq/batches/1f", "/crewq/compare")
DATA = ("/crewq/api/runs", "/crewq/api/totals", "/crewq/api/batches", "/crewq/api/runs/1f", "/crewq/api/runs/1f/events")
ELSEWHERE = "0.0.0.0"


@pytest.fixture(scope="module")
def flower_server(tmp_path_factory: pytest.TempPathFactory, fleet_server: Server) -> Iterator[FlowerProcess]:
    with FlowerProcess(tmp_path_factory.mktemp("flower"), fleet_server.url, prefix="watch/it") as process:
        yield process.ready()


# -- where it starts --------------------------------------------------------------------------------------------------


def refused(folder: Path, url: str, *arguments: str, **env: str) -> str:
    """What `crewq flower` says when it does not start."""
    command = [sys.executable, "-m", "crewq", "flower", f"--port={free_port()}", *arguments]
    own = environment(CREWQ_REDIS_URL=url, **env)
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "conf"),
    [
        (["--address=0.0.0.0"], {}, ""),
        (["--", "--address=0.0.0.0"], {}, ""),
        (["--", "--address="], {}, ""),
        ([], {"FLOWER_ADDRESS": ELSEWHERE}, ""),
        ([], {"FLOWER_ADDRESS": ""}, ""),
        ([], {}, f"address = '{ELSEWHERE}'"),
        (["--address=0.0.0.0"], {"FLOWER_BASIC_AUTH": ""}, ""),
        (["--address=0.0.0.0"], {"FLOWER_BASIC_AUTH": "ada:"}, ""),
        (["--address=0.0.0.0"], {"FLOWER_BASIC_AUTH": "ada:secret,eve:"}, ""),
        (["--address=0.0.0.0", "--", "--basic_auht=ada:secret"], {}, ""),
        (["--address=no.such.host.invalid"], {}, ""),
    ],
)
def test_it_does_not_start_for_other_machines_without_a_password(
    tmp_path: Path, redis_url: str, arguments: list[str], env: dict[str, str], conf: str
) -> None:
    if conf:
        (tmp_path / "flowerconfig.py").write_text(conf)
    said = refused(tmp_path, redis_url, *arguments, **env)
    assert "it has no password" in said
    assert "FLOWER_BASIC_AUTH=NAME:PASSWORD" in said


def test_an_option_that_flower_does_not_take_is_an_error(tmp_path: Path, redis_url: str) -> None:
    assert "Flower does not take that" in refused(tmp_path, redis_url, "--", "--inspect_timeout=soon")


@pytest.mark.parametrize(
    ("options", "env", "conf"),
    [
        ([f"--address={ELSEWHERE}", f"--basic-auth={NAME}:{PASSWORD}"], {}, ""),
        ([], {"FLOWER_ADDRESS": ELSEWHERE, "FLOWER_BASIC_AUTH": f"{NAME}:{PASSWORD}"}, ""),
        ([], {}, f"address = '{ELSEWHERE}'\nbasic_auth = ['{NAME}:{PASSWORD}']"),
    ],
)
def test_it_starts_for_other_machines_with_a_password(
    tmp_path: Path, redis_url: str, options: list[str], env: dict[str, str], conf: str
) -> None:
    if conf:
        (tmp_path / "flowerconfig.py").write_text(conf)
    with FlowerProcess(tmp_path, redis_url, *options, locked=False, **env) as process:
        assert process.ready().get("/crewq/runs").status == 401
        assert process.get("/crewq/api/runs").status == 401
        process.locked = True
        assert process.get("/crewq/runs").status == 200


# -- the hook ---------------------------------------------------------------------------------------------------------


def test_our_pages_are_in_the_flower_that_is_pinned(flower_server: FlowerProcess) -> None:
    assert flower.VERSION[:2] == (2, 2)
    for path in PAGES:
        page = flower_server.get(path)
        assert page.status == 200, path
        assert 'src="/watch/it/crewq/static/main.js"' in page.text
        assert 'src="/watch/it/static/js/theme.js' in page.text  # Flower's own frame
    assert flower_server.get("/crewq/static/main.js").headers["Content-Type"].startswith("text/javascript")


def test_flowers_own_pages_have_a_link_to_ours(flower_server: FlowerProcess) -> None:
    for path in ("/workers", "/tasks", "/broker"):
        assert 'href="/watch/it/crewq/runs"' in flower_server.get(path).text, path
    assert flower_server.get("/crewq/runs").text.count('aria-current="page"') == 1


def test_our_pages_are_in_a_flower_that_celery_starts(tmp_path: Path, redis_url: str) -> None:
    port = free_port()
    command = ["-m", "celery", "-A", "workers.app", "flower", "--conf=workers/flowerconfig.py", f"--port={port}"]
    env = environment(CREWQ_REDIS_URL=redis_url)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=log, stderr=log)
    asked = FlowerProcess.__new__(FlowerProcess)
    asked.port, asked.root, asked.locked = port, "", False
    try:
        until(asked._answers, 40)
        # It listens on all addresses, and has no password: its own pages are open, ours are not.
        assert asked.get("/tasks").status == 200
        assert asked.get("/crewq/runs").status == 403
        assert "has no password" in asked.get("/crewq/api/runs").json["message"]
    finally:
        process.terminate()
        process.wait(20)


# -- who is let in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, *DATA])
@pytest.mark.parametrize("login", [False, "ada:wrong", "eve:engine-1843"])
def test_nobody_sees_anything_without_flowers_login(flower_server: FlowerProcess, path: str, login: bool | str) -> None:
    answer = flower_server.get(path, login=login)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_with_a_login_by_oauth_pages_lead_to_it_and_data_is_refused(tmp_path: Path, redis_url: str) -> None:
    options = ("--auth=ada@example.org", "--auth-provider=flower.views.auth.GithubLoginHandler")
    with FlowerProcess(tmp_path, redis_url, *options, locked=False) as process:
        process.ready()
        page = process.get("/crewq/runs")
        assert (page.status, page.headers["Location"]) == (302, "/login?next=/crewq/runs")
        assert "Loading" not in page.text
        assert process.get("/crewq/api/runs").status == 403


def test_without_a_password_only_this_machine_under_its_own_name_is_served(tmp_path: Path, redis_url: str) -> None:
    with FlowerProcess(tmp_path, redis_url, locked=False, FLOWER_UNAUTHENTICATED_API="true") as process:
        process.ready()
        for path in ("/crewq/runs", "/crewq/api/runs"):
            assert process.get(path, Host=f"localhost:{process.port}").status == 200
            assert process.get(path, Host=f"rebound.example.org:{process.port}").status == 403
        assert process.get("/crewq/api/runs").headers["Access-Control-Allow-Origin"] is None


@pytest.fixture
def answers(flower_server: FlowerProcess) -> Callable[[str], int]:
    return lambda path: flower_server.get(path, login=False).status


def test_what_flower_answers_without_a_login_is_no_more_than_was_known(answers: Callable[[str], int]) -> None:
    open_to_all = {
        path for path in ("/", "/tasks", "/api/tasks", "/broker", "/metrics", "/healthcheck") if answers(path) == 200
    }
    assert open_to_all == {"/metrics", "/healthcheck"}  # docs/operations.md says to keep the port private


def test_pages_allow_no_script_from_elsewhere(flower_server: FlowerProcess) -> None:
    for path in ("/crewq/runs", "/crewq/api/runs", "/crewq/static/main.js", "/crewq/nothing"):
        headers = flower_server.get(path).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert flower_server.get("/crewq/static/..%2fhook.py").status in (403, 404)
