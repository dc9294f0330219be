"""crewq's pages in a real Chromium: they show what they are told as text, follow a run, and take a button by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from crewq.run import Run
from tests.integration.crews import Echo, crew
from tests.integration.flower_process import NAME, PASSWORD, FlowerProcess
from tests.integration.worker_process import WorkerProcess
from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def flower(fleet: WorkerProcess, tmp_path: Path) -> Iterator[FlowerProcess]:
    with FlowerProcess(tmp_path, fleet.url, prefix="watch") as process:
        yield process.ready()


@pytest.fixture(params=[("light", DESK), ("dark", PHONE)], ids=["light", "dark phone"])
def page(request: pytest.FixtureRequest, chromium: Browser, flower: FlowerProcess) -> Iterator[Page]:
    """A page whose console stays silent, also about the content policy; closed before its Flower is."""
    scheme, size = request.param
    credentials = {"username": NAME, "password": PASSWORD}
    context = chromium.new_context(color_scheme=scheme, viewport=size, http_credentials=credentials)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def look_at(page: Page, flower: FlowerProcess, path: str) -> None:
    page.goto(f"http://127.0.0.1:{flower.port}{flower.root}/crewq{path}")
    page.wait_for_selector("#crewq[data-shown=yes]", timeout=15_000)
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, "it has to be scrolled sideways"


def test_what_a_model_says_shows_as_text(page: Page, flower: FlowerProcess) -> None:
    run = crew("Say {x}", name="hostile").kickoff_async(inputs={"x": HOSTILE})
    assert isinstance(run, Run)
    until(lambda: run.status == "completed", 30)
    look_at(page, flower, f"/runs/{run.id}")
    page.get_by_text(HOSTILE).first.wait_for()
    page.wait_for_selector(".crewq-bar-completed")
    assert page.locator("#crewq img, #crewq script").count() == 0
    assert page.title().startswith("completed")
    look_at(page, flower, f"/compare?a={run.id}&b={run.id}")
    assert page.locator("#crewq img, #crewq script").count() == 0
    look_at(page, flower, "/runs")
    page.get_by_role("link", name=run.id[:8]).wait_for()


def test_a_run_is_followed_and_cancelled_by_keyboard(page: Page, flower: FlowerProcess) -> None:
    run = crew("Say {x}", llm=Echo(latency=30), name="slow").kickoff_async(inputs={"x": "it"})
    assert isinstance(run, Run)
    look_at(page, flower, f"/runs/{run.id}")
    page.wait_for_selector(".crewq-bar-running", timeout=20_000)  # without a reload
    page.get_by_role("button", name="Cancel", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel the run").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".crewq-head .crewq-cancelled", timeout=15_000)
    page.wait_for_selector(".crewq-bar-cancelled", timeout=15_000)
    assert run.status == "cancelled"
    page.get_by_text(f"{NAME} from 127.0.0.1").wait_for()
