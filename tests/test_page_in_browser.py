"""The page and optuna-dashboard in a real browser: headless Chromium, driven as a reader would use it."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import dashboards.live
from dashboards.page import write_page
from harness.store import Store
from tests.synthetic import HOSTILE, write_study

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STUDIES = {"mnist": 50, HOSTILE: 30, "one": 1, "none": 0, "all failed": 4}
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('browser') / 'harness.db'}")
    for name, trials in STUDIES.items():
        write_study(store, name, trials, only="failed" if name == "all failed" else None, baselines=trials > 0)
    return store


@pytest.fixture(scope="module")
def pages(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("pages")
    files = {name: folder / f"{i}.html" for i, name in enumerate(STUDIES)}
    for name, file in files.items():
        write_page(store, name, file)
    return {name: file.as_uri() for name, file in files.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """An open page with all it complained about and all it asked for."""

    def __init__(self, browser: Any, address: str, viewport: dict[str, int], scheme: str = "light") -> None:
        self.page = browser.new_page(viewport=viewport, color_scheme=scheme)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.wait_for_load_state("networkidle")
        if self.page.locator("body[data-drawn]").count():
            self.page.wait_for_selector("body[data-drawn=true]")

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def hover(self, selector: str) -> str:
        """The hover text of the last mark that ``selector`` finds."""
        self.page.locator(selector).last.scroll_into_view_if_needed()
        box = self.page.locator(selector).last.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2 + 1)
        return str(self.page.locator(".hoverlayer .hovertext").last.text_content(timeout=5000))


@contextmanager
def live(store: Store, *studies: str) -> Iterator[str]:
    """The address at which the studies are served."""
    server = dashboards.live.server(store, studies, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1280", "390"])
@pytest.mark.parametrize("study", STUDIES)
def test_page_is_quiet_self_contained_and_fits(
    browser: Any, pages: dict[str, str], study: str, viewport: dict[str, int], scheme: str
) -> None:
    visit = Visit(browser, pages[study], viewport, scheme)
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("data:", "blob:"))] == [pages[study]]
    assert visit.overflow() <= 0
    assert visit.page.locator("h1").text_content() == study
    assert visit.page.locator("img").count() == 0
    drawn = visit.page.locator(".plot:not([hidden])").count()
    assert drawn == {"mnist": 8, HOSTILE: 8, "one": 7, "none": 1, "all failed": 3}[study]
    plots = visit.page.evaluate("Array.from(document.querySelectorAll('.plot'), p => [p.scrollWidth, p.clientWidth])")
    assert all(content <= box for content, box in plots)
    visit.page.close()


def test_hover_tells_strategy_accuracy_cost_and_why_a_trial_was_stopped(browser: Any, pages: dict[str, str]) -> None:
    visit = Visit(browser, pages["mnist"], WIDE)
    said = visit.hover("#accuracy-versus-compute .scatterlayer .trace:nth-child(4) path.point")
    for part in ("trial ", "feature_extraction", "k = 13", "adam", "validation accuracy 0.", "TFLOP", "of features"):
        assert part in said
    said = visit.hover("#learning-curves .scatterlayer .trace:last-child path.point")
    assert "pruned: at 3.1 TFLOP" in said or "diverged: " in said
    visit.page.close()


def test_hostile_reason_shows_as_text_on_hover(browser: Any, pages: dict[str, str]) -> None:
    visit = Visit(browser, pages[HOSTILE], WIDE)
    crossed = visit.page.evaluate(
        "document.getElementById('learning-curves').data.at(-1).hovertext.findIndex(text => text.includes('&lt;img'))"
    )
    assert crossed >= 0
    visit.page.evaluate(
        "point => Plotly.Fx.hover('learning-curves', [{curveNumber: "
        "document.getElementById('learning-curves').data.length - 1, pointNumber: point}])",
        crossed,
    )
    assert "<img src=x" in visit.page.locator(".hoverlayer .hovertext").last.text_content(timeout=5000)
    assert visit.complaints == []
    visit.page.close()


def test_legend_hides_and_shows_a_strategy(browser: Any, pages: dict[str, str]) -> None:
    visit = Visit(browser, pages["mnist"], WIDE)
    shown = visit.page.locator("#accuracy-versus-compute .scatterlayer .trace")
    before = shown.count()
    visit.page.locator("#accuracy-versus-compute .legendtoggle").first.click()
    playwright.expect(shown).to_have_count(before - 2)  # checkpoints and ends go together
    visit.page.locator("#accuracy-versus-compute .legendtoggle").first.click()
    playwright.expect(shown).to_have_count(before)
    visit.page.close()


def test_figures_follow_the_colour_scheme_while_open(browser: Any, pages: dict[str, str]) -> None:
    visit = Visit(browser, pages["mnist"], WIDE, "light")
    plot = visit.page.locator("#learning-curves .main-svg").first
    body = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(body)
    playwright.expect(plot).to_have_css("background-color", light)
    visit.page.emulate_media(color_scheme="dark")
    assert visit.page.evaluate(body) != light
    playwright.expect(plot).to_have_css("background-color", visit.page.evaluate(body))
    visit.page.close()


def test_table_sorts_by_number_with_missing_ones_last(browser: Any, pages: dict[str, str]) -> None:
    visit = Visit(browser, pages["mnist"], WIDE)
    table = visit.page.locator("table").last
    column = 3
    for direction in ("ascending", "descending"):
        table.locator("th button").nth(column).focus()
        visit.page.keyboard.press("Enter")
        assert table.locator("th").nth(column).get_attribute("aria-sort") == direction
        cells = table.locator(f"tbody td:nth-child({column + 1})").evaluate_all(
            "cells => cells.map(c => c.dataset.value)"
        )
        numbers = [float(cell) for cell in cells if cell != "null"]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert set(cells[len(numbers) :]) == {"null"}
    visit.page.close()


def test_optuna_dashboard_shows_the_figures_and_the_note(browser: Any, store: Store) -> None:
    with live(store, HOSTILE) as address:
        study = f"{address}/dashboard/studies/{store.optuna_storage().get_study_id_from_name(HOSTILE)}"
        visit = Visit(browser, study, WIDE)
        visit.page.get_by_text("Accuracy versus compute").wait_for(timeout=15000)
        assert visit.page.get_by_text("Learning curves").count() == 1
        note = Visit(browser, f"{study}/note", WIDE)
        note.page.get_by_role("heading", name=HOSTILE).last.wait_for(timeout=15000)
        for opened in (visit, note):
            assert opened.complaints == []
            assert [url for url in opened.requests if not url.startswith((address, "data:", "blob:"))] == []
            assert opened.page.locator("img[src=x]").count() == 0
            opened.page.close()
