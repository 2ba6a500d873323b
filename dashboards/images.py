"""The page as a PDF and its figures as PNG files, printed by a Chromium that is installed on this machine."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from dashboards.figures import draw
from dashboards.page import MOST_POINTS, figure_page, render
from harness.analysis.rows import Rows
from harness.core.errors import SpecError, StorageError
from harness.core.paths import temporary_folder
from harness.storage.outputs import check_output

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FIGURE_SIZE = (1200, 750)
"""Width and height of a PNG in CSS pixels; the files have twice as many, for screens and print."""
_PAPER_WIDTH = 718  # A4 without its margins, in CSS pixels: figures keep the width at which they were drawn
_SECONDS = 60


def chromium() -> str:
    """Return the path of an installed Chromium or Chrome. Raises SpecError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SpecError(
            f"--png and --pdf need Chromium or Chrome, and none of {', '.join(BROWSERS)} is on the PATH: install one "
            "(apt-get install chromium), or save a figure with the camera above it and print the page from a browser"
        )
    return found


def write_pngs(studies: Sequence[Rows], folder: Path) -> list[Path]:
    """Write each figure of each study to ``folder`` as ``<figure>.png`` and return the files.

    With several studies a file's name begins with the study's place in the order given. Raises SpecError without
    Chromium and StorageError where a file cannot be written.
    """
    files = []
    for i, rows in enumerate(studies, start=1):
        prefix = f"{i}-" if len(studies) > 1 else ""
        for drawing in draw(rows, MOST_POINTS):
            figure = drawing.views[rows.cost.unit].figure
            if figure is not None:
                file = folder / f"{prefix}{drawing.id}.png"
                write_png(figure, drawing.title, file)
                files.append(file)
    return files


def write_png(figure: go.Figure, title: str, file: Path) -> None:
    """Write one figure. Raises as `write_pngs` does."""
    figure.update_layout(title={"text": title, "automargin": True, "yref": "container"}, margin={"l": 24, "r": 24})
    width, height = FIGURE_SIZE
    options = [f"--window-size={width},{height}", "--force-device-scale-factor=2", "--hide-scrollbars"]
    _print(chromium(), figure_page(figure, width, height), "--screenshot", file, options)


def write_pdf(studies: Sequence[Rows], file: Path) -> None:
    """Write the page of the studies as a PDF. Raises SpecError without Chromium and StorageError where ``file`` cannot
    be written."""
    options = [f"--window-size={_PAPER_WIDTH},1000", "--no-pdf-header-footer"]
    _print(chromium(), render(studies), "--print-to-pdf", file, options)


def _print(browser: str, html: str, what: str, file: Path, options: Sequence[str]) -> None:
    kind = "PDF" if "pdf" in what else "PNG"
    check_output(file, kind, option=f"--{kind.lower()}")
    with tempfile.TemporaryDirectory(dir=temporary_folder()) as scratch:
        page = Path(scratch) / "page.html"
        printed = page.with_suffix(f".{kind.lower()}")  # the suffix tells Chromium the format
        page.write_text(html, encoding="utf-8")
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to run as root
        command = [
            browser, "--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={scratch}/profile", *root,
            *options, f"{what}={printed}", "--virtual-time-budget=20000", page.as_uri(),
        ]  # fmt: skip
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise StorageError(f"{browser} did not print {file} within {_SECONDS} seconds: try again") from None
        if not printed.is_file():
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise StorageError(f"{browser} could not print {file} ({last}): try it on a page in a window")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(printed, file)
        except OSError as error:
            raise StorageError(f"{str(file)!r} cannot be written ({error.strerror}): give another path") from None
