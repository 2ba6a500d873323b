"""The page and optuna-dashboard in a real browser: headless Chromium, driven as a reader would use it."""

import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import dashboards.live
from dashboards.images import FIGURE_SIZE
from dashboards.page import write_page
from harness import dashboard
from harness.analysis import formatting
from harness.core.results import Checkpoint, TrialResult
from harness.core.strategy import Strategy
from harness.storage.store import Store
from tests.helpers.synthetic import HOSTILE, add_trials, predict_study, write_study

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
PATIENCE = 120_000  # ms: a busy machine makes no page wrong
playwright.expect.set_options(timeout=PATIENCE)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('browser') / 'harness.db'}")
    for name, trials in STUDIES.items():
        write_study(store, name, trials, only="failed" if name == "all failed" else None, baselines=trials > 0)
    for name in ("mnist", HOSTILE):
        predict_study(store, name)
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


@pytest.fixture(scope="module")
def opened(browser: Any, pages: dict[str, str]) -> "Iterator[Callable[..., Visit]]":
    """Return the visit of a study's page in a window: one for all tests, which leave the page as it was, but for the
    order of the table."""
    visits: dict[tuple[object, ...], Visit] = {}

    def visit(study: str, viewport: dict[str, int], scheme: str) -> Visit:
        key = (study, viewport["width"], scheme)
        if key not in visits:
            visits[key] = Visit(browser, pages[study], viewport, scheme)
        return visits[key]

    yield visit
    for one in visits.values():
        one.page.close()


@pytest.fixture
def reading(opened: "Callable[..., Visit]") -> "Visit":
    return opened("mnist", WIDE, "light")


@pytest.fixture
def visit(opened: "Callable[..., Visit]", viewport: dict[str, int]) -> "Visit":
    """`reading`, or the same page in a narrow window."""
    return opened("mnist", viewport, "light" if viewport == WIDE else "dark")


@pytest.fixture
def hostile(opened: "Callable[..., Visit]") -> "Visit":
    """The page whose names and reasons are HTML."""
    return opened(HOSTILE, WIDE, "light")


class Visit:
    """An open page with all it complained about and all it asked for."""

    def __init__(
        self, browser: Any, address: str, viewport: dict[str, int], scheme: str = "light", *, settle: bool = True
    ) -> None:
        self.page = browser.new_page(viewport=viewport, color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        if self.page.locator("body[data-drawn]").count():
            self.page.wait_for_selector("body[data-drawn=true]")
        elif settle:  # a live page asks for news for ever
            self.page.wait_for_load_state("networkidle")

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def hover(self, selector: str) -> str:
        """The hover text of the last mark that ``selector`` finds."""
        self.page.locator(selector).last.scroll_into_view_if_needed()
        box = self.page.locator(selector).last.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2 + 1)
        return str(self.page.locator(".hoverlayer .hovertext").last.text_content())


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


LOOKS = {
    "1280-light": (WIDE, "light"),
    "390-dark": (NARROW, "dark"),
    "1280-dark": (WIDE, "dark"),
    "390-light": (NARROW, "light"),
}
FIRST_LOOKS = {("mnist", "1280-light"), (HOSTILE, "390-dark")}


@pytest.mark.parametrize(
    ("study", "viewport", "scheme"),
    [
        pytest.param(study, *how, id=f"{study}-{look}", marks=[] if (study, look) in FIRST_LOOKS else pytest.mark.large)
        for study in STUDIES
        for look, how in LOOKS.items()
        if study == "mnist" or look in ("1280-light", "390-dark")
    ],
)
def test_page_is_quiet_self_contained_and_fits(
    opened: Callable[..., Visit], pages: dict[str, str], study: str, viewport: dict[str, int], scheme: str
) -> None:
    visit = opened(study, viewport, scheme)
    visit.page.wait_for_load_state("networkidle")
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("data:", "blob:"))] == [pages[study]]
    assert visit.overflow() <= 0
    assert visit.page.locator("h1").text_content() == study
    assert visit.page.locator("img").count() == 0
    drawn = visit.page.locator(".plot:not([hidden])").count()
    assert drawn == {"mnist": 10, HOSTILE: 10, "one": 6, "none": 1, "all failed": 3}[study]
    assert visit.page.locator(".facts dd").evaluate_all("values => values.every(v => v.scrollWidth <= v.clientWidth)")
    plots = visit.page.evaluate("Array.from(document.querySelectorAll('.plot'), p => [p.scrollWidth, p.clientWidth])")
    assert all(content <= box for content, box in plots)


@pytest.mark.parametrize("viewport", [WIDE, pytest.param(NARROW, marks=pytest.mark.large)], ids=["1280", "390"])
def test_hover_tells_strategy_accuracy_cost_and_why_a_trial_was_stopped(visit: Visit) -> None:
    said = visit.hover("#accuracy-versus-compute .scatterlayer .trace:nth-child(4) path.point")
    for part in ("trial ", "feature_extraction", "k = 13", "adam", "validation accuracy 0.", "TFLOP", "of features"):
        assert part in said
    said = visit.hover("#learning-curves .scatterlayer .trace:last-child path.point")
    assert "pruned: at 3.1 TFLOP" in said or "diverged: " in said


def test_hostile_reason_shows_as_text_on_hover(hostile: Visit) -> None:
    crossed = hostile.page.evaluate(
        "document.getElementById('learning-curves').data.at(-1).hovertext.findIndex(text => text.includes('&lt;img'))"
    )
    assert crossed >= 0
    hostile.page.evaluate(
        "point => Plotly.Fx.hover('learning-curves', [{curveNumber: "
        "document.getElementById('learning-curves').data.length - 1, pointNumber: point}])",
        crossed,
    )
    assert "<img src=x" in hostile.page.locator(".hoverlayer .hovertext").last.text_content()
    assert hostile.complaints == []


def test_figures_follow_the_colour_scheme_while_open(reading: Visit) -> None:
    page = reading.page
    plot = page.locator("#learning-curves .main-svg").first
    body = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(body)
    playwright.expect(plot).to_have_css("background-color", light)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(body)
    assert dark != light
    playwright.expect(plot).to_have_css("background-color", dark)
    page.emulate_media(color_scheme="light")
    playwright.expect(plot).to_have_css("background-color", light)
    page.wait_for_selector("body[data-drawn=true]")


def test_table_sorts_by_number_with_missing_ones_last(reading: Visit) -> None:
    table = reading.page.locator("table").last
    column = 4  # a score
    for direction in ("ascending", "descending"):
        table.locator("th button").nth(column).focus()
        reading.page.keyboard.press("Enter")
        assert table.locator("th").nth(column).get_attribute("aria-sort") == direction
        cells = table.locator(f"tbody td:nth-child({column + 1})").evaluate_all(
            "cells => cells.map(c => c.dataset.value)"
        )
        numbers = [float(cell) for cell in cells if cell != "null"]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert set(cells[len(numbers) :]) == {"null"}


def shown_trials(page: Any) -> list[dict[str, str]]:
    """The cells of the visible rows of the table of trials, by column."""
    return page.locator("#trials-table tbody tr").evaluate_all(
        "rows => rows.map(row => Object.fromEntries("
        "Array.from(row.cells, cell => [cell.dataset.name, cell.dataset.value ?? cell.textContent])))"
    )


def test_ten_visible_numbers_equal_sql(reading: Visit, store: Store) -> None:
    columns = ["number", "val_accuracy", "train_flops", "seconds_total", "epochs"]
    with store.engine.connect() as connection:
        query = f"select {', '.join(columns)} from trial_summary where study = 'mnist' and number in (3, 7)"
        stored = connection.execute(sa.text(query)).all()
    shown = {int(row["number"]): row for row in shown_trials(reading.page)}
    for row in stored:
        assert [
            float(shown[row.number][name]) if shown[row.number][name] != "null" else None for name in columns
        ] == list(row)
    best = reading.page.locator("dd").first.text_content()
    with store.engine.connect() as connection:
        assert best == f"{connection.scalar(sa.text(BEST)):.4f}"


BEST = "select max(val_accuracy) from trial_summary where study = 'mnist'"


@pytest.mark.parametrize("viewport", [WIDE, pytest.param(NARROW, marks=pytest.mark.large)], ids=["1280", "390"])
def test_switch_to_seconds_changes_axes_and_words_together(visit: Visit) -> None:
    title = visit.page.locator("#accuracy-versus-compute .xtitle")
    caption = visit.page.locator("#accuracy-versus-compute-caption")
    assert "TFLOP" in title.text_content()
    assert re.search(r"for [\d.]+ TFLOP to", caption.inner_text())
    visit.page.get_by_role("button", name="seconds", exact=True).focus()
    visit.page.keyboard.press("Enter")
    playwright.expect(title).to_contain_text("seconds")
    assert re.search(r"for [\d.]+ s to", caption.inner_text())
    assert "TFLOP to" not in caption.inner_text()
    playwright.expect(visit.page.get_by_role("button", name="seconds", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    visit.page.get_by_role("button", name="TFLOP", exact=True).click()
    playwright.expect(title).to_contain_text("TFLOP")
    visit.page.wait_for_selector("body[data-drawn=true]")


def test_the_page_writes_numbers_as_the_summary_does(reading: Visit, store: Store) -> None:
    stored = store.trials.frame("mnist").set_index("number")
    numbers = list(map(int, reading.page.locator("#trials-table tbody td[data-name=number]").all_text_contents()))
    assert sorted(numbers) == list(stored.index)
    for name, scale in (("train_flops", 1e-12), ("saved_flops", 1e-12), ("seconds_total", 1.0)):
        shown = reading.page.locator(f"#trials-table tbody td[data-name={name}]").all_text_contents()
        assert shown == [formatting.number(value * scale) for value in stored.loc[numbers, name]]


@pytest.mark.parametrize(
    ("by", "viewport"),
    [("legend", WIDE), pytest.param("keyboard", NARROW, marks=pytest.mark.large)],
    ids=["legend-1280", "keyboard-390"],
)
def test_a_hidden_strategy_is_hidden_everywhere(visit: Visit, by: str) -> None:
    page = visit.page
    strategies = {row["strategy"] for row in shown_trials(page)}
    assert "feature_extraction" in strategies
    toggle = page.locator("button[data-filter=feature_extraction]")
    if by == "legend":
        entry = page.locator("#accuracy-versus-compute .legend .traces", has_text="feature_extraction")
        entry.locator(".legendtoggle").click()
    else:
        toggle.focus()
        page.keyboard.press("Space")
    playwright.expect(toggle).to_have_attribute("aria-pressed", "false")
    page.wait_for_selector("body[data-drawn=true]")
    visible = page.evaluate(
        "Array.from(document.querySelectorAll('.plot:not([hidden])'), p => p.data.filter("
        "t => t.legendgroup === 'feature_extraction').map(t => t.visible)).flat()"
    )
    assert len(visible) > 5 and set(visible) == {"legendonly"}
    assert {row["strategy"] for row in shown_trials(page)} == strategies - {"feature_extraction"}
    toggle.click()
    assert {row["strategy"] for row in shown_trials(page)} == strategies
    page.wait_for_selector("body[data-drawn=true]")
    assert visit.complaints == []


def test_search_finds_all_words_and_says_how_many(reading: Visit, store: Store) -> None:
    page = reading.page
    page.get_by_role("searchbox").fill("Freeze_first_k adam complete")
    with store.engine.connect() as connection:
        query = (
            "select number from trial_summary where study = 'mnist' and strategy = 'freeze_first_k' "
            "and optimizer = 'adam' and status = 'complete'"
        )
        stored = set(connection.scalars(sa.text(query)))
    assert {int(row["number"]) for row in shown_trials(page)} == stored
    assert f"of {len(stored)} shown, 50 in all" in page.locator("#shown").text_content()
    page.get_by_role("searchbox").fill("no such trial")
    assert shown_trials(page) == []
    page.get_by_role("searchbox").fill("")
    assert len(shown_trials(page)) == 50


def test_downloads_hold_the_shown_rows_with_every_column(hostile: Visit, store: Store, tmp_path: Path) -> None:
    page = hostile.page
    page.get_by_role("searchbox").fill("freeze_first_k")
    page.locator("th[data-name=train_flops] button").click()
    stored = store.trials.frame(HOSTILE)
    stored = stored[stored["strategy"] == "freeze_first_k"].sort_values(["train_flops", "number"])
    for kind in ("csv", "json", "parquet"):
        with page.expect_download() as waiting:
            page.locator(f"button[data-download={kind}]").click()
        file = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(file)
        if kind == "parquet":
            frame = pq.read_table(file).to_pandas()
        else:
            frame = pd.read_csv(file) if kind == "csv" else pd.read_json(file, orient="records", dtype=False)
        assert set(frame.columns) == set(stored.columns)
        assert frame["number"].tolist() == stored["number"].tolist()
        for name in ("val_accuracy", "train_flops", "learning_rate", "seconds_total"):
            assert frame[name].tolist() == pytest.approx(stored[name].tolist(), rel=1e-15, nan_ok=True)
        assert frame["study"].eq(HOSTILE).all()
        assert frame["reason"].fillna("").tolist() == stored["reason"].fillna("").tolist()
    assert hostile.complaints == []


def test_arrow_keys_read_out_the_points_of_a_figure(reading: Visit) -> None:
    reading.page.locator("#accuracy-versus-compute").focus()
    for _ in range(2):
        reading.page.keyboard.press("ArrowRight")
    assert re.match(r"trial \d+, epoch \d of 5\. ", reading.page.locator("#spoken").text_content())
    assert "trial" in reading.page.locator("#accuracy-versus-compute .hovertext").last.text_content()


@pytest.mark.large
def test_every_control_is_reached_by_tab_and_every_figure_says_what_it_shows(
    browser: Any, pages: dict[str, str]
) -> None:
    visit = Visit(browser, pages["mnist"], WIDE)
    page = visit.page
    reached = set()
    for _ in range(110):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.outerHTML.slice(0, 60)"))
    for plot in page.locator(".plot:not([hidden])").all():
        name = plot.get_attribute("id")
        assert name in reached
        assert plot.get_attribute("role") == "img" and plot.get_attribute("aria-label")
        assert len(page.locator(f"#{plot.get_attribute('aria-describedby')}").inner_text()) > 40
    assert "search" in reached
    assert sum("data-unit" in it for it in reached) == 2 and sum("data-filter" in it for it in reached) == 5
    assert sum("data-download" in it for it in reached) == 3
    page.close()


def test_classes_of_another_trial_are_shown_and_read_out(hostile: Visit) -> None:
    page, section = hostile.page, hostile.page.locator("section.classes")
    z = "document.getElementById('confusion').data.map(trace => trace.z)"
    best, seen = page.evaluate(z), section.locator(".summary:visible").inner_text()
    section.locator("button", has_text="best baseline").click()
    playwright.expect(section.locator("button", has_text="best baseline")).to_have_attribute("aria-pressed", "true")
    assert "cnn gets " in section.locator(".summary:visible").inner_text() != seen
    assert page.evaluate(z) != best
    page.locator("#confusion").focus()
    page.keyboard.press("ArrowRight")
    spoken = page.locator("#spoken").text_content()
    assert re.fullmatch(re.escape(HOSTILE) + r"\d: \d+ of 20 images \(\d+ %\) recognised", spoken)
    page.locator("#reliability").focus()
    page.keyboard.press("ArrowRight")
    assert "right" in page.locator("#spoken").text_content()
    assert hostile.complaints == []


def test_numbers_of_a_figure_can_be_read_as_a_table(reading: Visit) -> None:
    reading.page.locator("section:has(#where-the-time-went) summary").click()
    text = reading.page.locator("#where-the-time-went-numbers table").inner_text()
    assert "saved by the activation cache" in text and "freeze_first_k" in text


@pytest.mark.large
@pytest.mark.parametrize(("trials", "viewport"), [(2_000, WIDE), (10_000, NARROW)])
def test_thousands_of_trials_page_search_and_sort(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, trials: int, viewport: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("many")
    store = Store(f"sqlite:///{folder / 'harness.db'}")
    write_study(store, "many", trials)
    write_page(store, "many", folder / "many.html")
    visit = Visit(browser, (folder / "many.html").as_uri(), viewport)
    page = visit.page
    assert visit.complaints == [] and visit.overflow() <= 0
    assert page.locator(".plot:not([hidden])").count() == 8
    assert page.locator(".plot path.point").count() < 12_000
    page.locator("th[data-name=val_accuracy] button").click()
    page.locator("th[data-name=val_accuracy] button").click()
    with store.engine.connect() as connection:
        best = connection.scalar(sa.text("select max(val_accuracy) from trial_summary"))
    assert float(shown_trials(page)[0]["val_accuracy"]) == best
    assert len(shown_trials(page)) == 50
    page.get_by_role("button", name="Next").click()
    assert page.locator("#shown").text_content().startswith(f"51 to 100 of {trials:,} shown")
    page.get_by_role("searchbox").fill("over_budget")
    assert {row["status"] for row in shown_trials(page)} == {"over_budget"}
    page.close()


@pytest.mark.large
def test_compared_studies_are_drawn_apart(browser: Any, store: Store, tmp_path: Path) -> None:
    write_page(store, "mnist", tmp_path / "page.html", HOSTILE, "none")
    visit = Visit(browser, (tmp_path / "page.html").as_uri(), NARROW)
    assert visit.complaints == [] and visit.overflow() <= 0
    assert visit.page.locator("img").count() == 0
    legend = visit.page.locator("#comparison .legendtext").all_text_contents()
    assert legend == ["mnist", HOSTILE]
    assert (
        visit.page.locator("#frozen-layers .main-svg").count()
        == visit.page.locator("#frozen-layers-2 .main-svg").count()
    )
    visit.page.close()


ZOOM = "document.getElementById('learning-curves').layout.xaxis.range"


@pytest.mark.large
def test_the_live_page_takes_in_results_and_keeps_what_the_reader_chose(browser: Any, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'harness.db'}")
    write_study(store, "running", 20)
    with live(store, "running") as address:
        visit = Visit(browser, f"{address}/", WIDE, settle=False)
        page = visit.page
        page.wait_for_selector("body[data-drawn=true]")
        page.locator("button[data-unit=seconds]").click()
        page.locator("button[data-filter=from_scratch]").click()
        page.get_by_role("searchbox").fill("trial-less words")
        page.get_by_role("searchbox").fill("quota")
        page.locator("section:has(#frozen-layers) summary").click()
        area = page.locator("#learning-curves .nsewdrag").first
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
        page.mouse.up()
        zoomed = page.evaluate(ZOOM)
        assert zoomed[0] > 1.5 and zoomed[1] < 4.5
        page.get_by_role("searchbox").focus()
        page.evaluate("document.getElementById('frozen-layers').scrollIntoView()")
        place = "document.getElementById('frozen-layers').getBoundingClientRect().top"
        seen_at = page.evaluate(place)
        session = int(store.trials.frame("running")["session"].iloc[0])
        strategy = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-4, image_size=32)
        result = TrialResult(
            "complete", 9e12, 9e12, val_accuracy=0.999, curve=(Checkpoint(1, 9e12, 7.0, 0.1, 0.1, 0.999),)
        )
        add_trials(store, "running", session, [(20, strategy, "quota", result)])
        playwright.expect(page.locator("dd").first).to_have_text("0.9990")
        page.wait_for_selector("body[data-drawn=true]")
        assert "for 7.00 s." in page.locator("#accuracy-versus-compute-caption").inner_text()
        assert {row["origin"] for row in shown_trials(page)} == {"quota"}
        assert "20" in {row["number"] for row in shown_trials(page)}
        assert "from_scratch" not in {row["strategy"] for row in shown_trials(page)}
        assert page.locator("section:has(#frozen-layers) details").get_attribute("open") is not None
        assert page.evaluate(ZOOM) == zoomed
        assert page.evaluate("document.activeElement.id") == "search"
        assert page.evaluate(place) == pytest.approx(seen_at, abs=3)  # though the summary above it grew
        assert visit.complaints == []
        assert [url for url in visit.requests if not url.startswith((address, "data:", "blob:"))] == []
    playwright.expect(page.locator("#live")).to_contain_text("the server has stopped")
    page.close()


@pytest.mark.large
def test_images_and_pdf_are_printed(store: Store, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    arguments = ["--storage", store.url, "--study", HOSTILE, "--out", str(tmp_path / "page.html")]
    assert dashboard.main([*arguments, "--png", str(tmp_path / "png"), "--pdf", str(tmp_path / "page.pdf")]) == 0
    written = sorted((tmp_path / "png").iterdir())
    assert {file.stem for file in written} >= {"accuracy-versus-compute", "four-scenarios", "frozen-layers"}
    for file in written:
        head = file.read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        assert struct.unpack(">II", head[16:24]) == (2 * FIGURE_SIZE[0], 2 * FIGURE_SIZE[1])
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.large
def test_optuna_dashboard_shows_the_figures_and_the_note(browser: Any, store: Store) -> None:
    with live(store, HOSTILE) as address:
        study = f"{address}/dashboard/studies/{store.optuna_storage().get_study_id_from_name(HOSTILE)}"
        visit = Visit(browser, study, WIDE)
        visit.page.get_by_text("Accuracy versus compute").wait_for()
        assert visit.page.get_by_text("Learning curves").count() == 1
        note = Visit(browser, f"{study}/note", WIDE)
        note.page.get_by_role("heading", name=HOSTILE).last.wait_for()
        for opened in (visit, note):
            assert opened.complaints == []
            assert [url for url in opened.requests if not url.startswith((address, "data:", "blob:"))] == []
            assert opened.page.locator("img[src=x]").count() == 0
            opened.page.close()


@pytest.mark.large
def test_a_backbone_is_hidden_in_figures_and_table(browser: Any, store: Store, tmp_path: Path) -> None:
    two = ["vgg16", "efficientnet_lite0"]
    write_study(store, "two", 40, **{"search.backbones": two})
    file = tmp_path / "two.html"
    write_page(store, "two", file)
    visit = Visit(browser, file.as_uri(), WIDE)
    page = visit.page
    shown = (
        "Array.from(document.querySelectorAll('.plot')).map(p => (p.data ?? []).filter(t => t.customdata)"
        ".flatMap(t => t.customdata)).flat()"
    )
    assert set(page.evaluate(shown)) == set(two)
    page.locator("button[data-filter=vgg16]").click()
    page.wait_for_selector("body[data-drawn=true]")
    assert set(page.evaluate(shown)) == {"efficientnet_lite0"}
    table = page.locator("#trials-table td[data-name=backbone]").all_inner_texts()
    assert table and set(table) == {"efficientnet_lite0"}
    page.locator("button[data-filter=vgg16]").click()
    page.wait_for_selector("body[data-drawn=true]")
    assert set(page.evaluate(shown)) == set(two)
    page.close()
