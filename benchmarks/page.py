"""Measure how long the page of a study takes to be written, to open in Chromium, and to answer a reader.

    python -m benchmarks.page [TRIALS]

The generator of the tests writes a study of made-up numbers. Opening is the time from the navigation until the last
figure is drawn; the summary and the table appear before. An answer is the time from an action to the next painted
frame: a search by letters, sorting, hiding a strategy (which redraws every figure), the switch to seconds. Scrolling is
the longest time between two frames while the page scrolls from end to end. Prints the median of five and all five.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.record import machine, write
from dashboards.images import chromium
from dashboards.page import write_page
from harness.storage.store import Store
from tests.helpers.synthetic import write_study

REPEATS = 5
DRAWN = "() => document.body?.dataset.drawn === 'true'"
ANSWER = """() => new Promise(done => {
  const begin = performance.now();
  ACTION;
  const painted = () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)));
  const ready = () => document.body.dataset.drawn === "true" ? painted() : setTimeout(ready);
  ready();
})"""
SCROLL = """() => new Promise(done => {
  let last = performance.now(), longest = 0, y = 0;
  const end = document.documentElement.scrollHeight - innerHeight;
  const step = now => {
    longest = Math.max(longest, now - last);
    last = now;
    scrollTo(0, y += 120);
    if (y < end) requestAnimationFrame(step); else done(longest);
  };
  requestAnimationFrame(now => { last = now; requestAnimationFrame(step); });
})"""
ACTIONS = {
    "search": "const s = document.getElementById('search'); s.value = 'adam'; s.dispatchEvent(new Event('input'))",
    "sort": "document.querySelector('th[data-name=val_accuracy] button').click()",
    "hide a strategy": "document.querySelector('button[data-filter=freeze_first_k]').click()",
    "switch to seconds": "document.querySelector('button[data-unit][aria-pressed=false]').click()",
}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="?", type=int, default=10_000)
    trials = parser.parse_args().trials
    folder = Path(tempfile.mkdtemp())
    try:
        store = Store(f"sqlite:///{folder / 'harness.db'}")
        write_study(store, "many", trials)
        page = folder / "many.html"
        begin = time.perf_counter()
        write_page(store, "many", page)
        written = time.perf_counter() - begin
        milliseconds = _in_browser(page)
        size = page.stat().st_size / 1e6
    finally:
        shutil.rmtree(folder)
    print(f"{trials:,} trials: written in {written:.2f} s, {size:.1f} MB")
    for name, values in milliseconds.items():
        shown = " ".join(f"{value:.0f}" for value in values)
        print(f"{name:<18} {statistics.median(values):7.0f} ms   ({shown})")
    load = os.getloadavg()[0]
    result = {"trials": trials, "written_s": written, "size_mb": size, "milliseconds": milliseconds, "load": load}
    write("page", {"machine": machine(), **result})


def _in_browser(file: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium(), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            begin = time.perf_counter()
            page.goto(file.as_uri(), wait_until="commit")
            page.wait_for_function("() => document.querySelector('#trials-table tbody tr')")
            _add(found, "table shown", (time.perf_counter() - begin) * 1000)
            page.wait_for_function(DRAWN)
            _add(found, "all figures drawn", (time.perf_counter() - begin) * 1000)
            for name, action in ACTIONS.items():
                _add(found, name, _answer(page, action))
            _add(found, "longest frame", page.evaluate(SCROLL))
            page.close()
        browser.close()
    return found


def _answer(page: Page, action: str) -> Any:
    return page.evaluate(ANSWER.replace("ACTION", action))


def _add(found: dict[str, list[float]], name: str, value: float) -> None:
    found.setdefault(name, []).append(value)


if __name__ == "__main__":
    main()
