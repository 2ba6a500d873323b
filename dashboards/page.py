"""Write the page of one or more studies: one HTML file that needs no other file and no network."""

import json
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dashboards.figures import draw
from dashboards.figures.classes import ClassesDrawing, classes_drawing
from dashboards.figures.compare import compare_drawing
from dashboards.figures.drawing import Drawing, Numbers
from dashboards.table import COMPARED_COLUMNS, CONFIRMED_COLUMNS, compared_rows, confirmed_rows, trials_table
from dashboards.theme import COLOURS, DARK, INK, LINE, MUTED, PAPER
from harness.analysis import formatting
from harness.analysis.classes import classes
from harness.analysis.recommendation import Recommendation, recommend
from harness.analysis.rows import Rows
from harness.analysis.summary import Summary, summarise
from harness.core.errors import StorageError
from harness.storage.outputs import check_output
from harness.storage.store import Store

MOST_POINTS = 1500
"""The most points in a figure of the page: more overlap, and slow a browser down."""

_TEMPLATES = Path(__file__).parent / "templates"
_SIZES = {"frozen-layers": "tall", "parallel-coordinates": "tall", "where-the-time-went": "low"}
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"accuracy": formatting.accuracy, "number": formatting.number}


@dataclass(frozen=True)
class _Study:
    """A study on the page; ``suffix`` keeps its elements' ids apart from those of the others."""

    rows: Rows
    suffix: str
    summary: Summary
    drawings: list[Drawing]
    classes: list[ClassesDrawing]
    baselines: list[dict[Any, Any]]
    advised: Recommendation | None
    confirmed: Numbers
    compared: Numbers

    @classmethod
    def of(cls, rows: Rows, suffix: str) -> "_Study":
        advised = recommend(rows)
        return cls(
            rows,
            suffix,
            summarise(rows),
            draw(rows, MOST_POINTS),
            [classes_drawing(info) for info in classes(rows)],
            rows.baselines.to_dict("records"),
            advised,
            Numbers(CONFIRMED_COLUMNS, tuple(confirmed_rows(advised.confirmed)) if advised else ()),
            Numbers(COMPARED_COLUMNS, tuple(compared_rows(advised.confirmed)) if advised else ()),
        )

    @property
    def seal(self) -> str:
        """How often the held-out test set has been opened, in words."""
        openings = len(self.rows.openings)
        if not openings:
            return f"The held-out test set of {self.rows.name} is sealed: no finalist has been confirmed."
        times = "once" if openings == 1 else f"{openings} times"
        return f"The held-out test set of {self.rows.name} has been opened {times}, to confirm the finalists."


def write_page(store: Store, study_name: str, path: Path, *compared: str) -> None:
    """Write the page of a study, and of those it is ``compared`` with, to ``path``.

    Raises SpecError for an unknown study and StorageError where ``path`` cannot be written.
    """
    save(render([Rows.read(store, name) for name in (study_name, *compared)]), path)


def save(text: str, path: Path) -> None:
    """Write a page to ``path`` as a whole: a reader never sees a half-written file.

    Raises StorageError where ``path`` cannot be written, or holds something that is no page.
    """
    check_output(path, "page")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)  # mkstemp makes it private, but a page is there to be shared
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the page {str(path)!r} cannot be written ({error.strerror}): give another path") from None


def render(studies: Sequence[Rows], *, version: str = "", whole: bool = True) -> str:
    """Return the page as HTML. All text is escaped; the content policy allows no request and no other script.

    With a ``version`` it is a live page, which asks its server for newer results. Without ``whole`` it is only the part
    that a live page replaces, without style and scripts.
    """
    shown = [_Study.of(rows, f"-{i}" if i > 1 else "") for i, rows in enumerate(studies, start=1)]
    comparison = compare_drawing(studies) if len(studies) > 1 else None
    figures = {drawing.id + study.suffix: _views(drawing) for study in shown for drawing in study.drawings}
    for study in shown:
        for id in ("confusion", "reliability"):
            figures[id + study.suffix] = {one.whose: _plain(getattr(one, id)) for one in study.classes}
    if comparison is not None:
        figures[comparison.id] = _views(comparison)
    return TEMPLATES.get_template("page.html.j2").render(
        unit=studies[0].cost.unit,
        title=" against ".join(rows.name for rows in studies),
        studies=shown,
        comparison=comparison,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        nonce=secrets.token_urlsafe(16),
        theme={"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER},
        dark=DARK,
        colours={
            kind: colour
            for kind, colour in COLOURS.items()
            if any(kind in rows.spec["search"]["strategies"] for rows in studies)
        },
        backbones=list(dict.fromkeys(name for rows in studies for name in rows.backbones)),
        sizes={drawing.id: _SIZES.get(drawing.id, "") for study in shown for drawing in study.drawings}
        | {"comparison": ""},
        version=version,
        whole=whole,
        figures=as_json(figures),
        trials=as_json(trials_table(studies)),
        dark_json=as_json(DARK),
        css=asset("page.css"),
        page_js=asset("page.js"),
        parquet_js=asset("parquet.js"),
        plotly_js=Markup(get_plotlyjs()),
    )


def one_figure(figure: go.Figure) -> dict[str, Any]:
    """Return what the template of a page of one figure needs: the figure, the look, scripts, the time."""
    return {
        "figure": as_json(_plain(figure)),
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "nonce": secrets.token_urlsafe(16),
        "theme": {"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER},
        "dark": DARK,
        "dark_json": as_json(DARK),
        "css": asset("page.css"),
        "plotly_js": Markup(get_plotlyjs()),
    }


def figure_page(figure: go.Figure, width: int, height: int) -> str:
    """Return a page of one figure, of that size in CSS pixels, for printing."""
    return TEMPLATES.get_template("figure.html.j2").render(
        figure=as_json(json.loads(figure.to_json())),
        width=width,
        height=height,
        paper=PAPER,
        plotly_js=Markup(get_plotlyjs()),
    )


def _views(drawing: Drawing) -> dict[str, Any]:
    """Return the figures by unit, under ``any`` where both are the same."""
    tflop, seconds = drawing.views["TFLOP"], drawing.views["seconds"]
    views = {"any": tflop} if tflop is seconds else {"TFLOP": tflop, "seconds": seconds}
    return {unit: _plain(view.figure) for unit, view in views.items() if view.figure is not None}


def _plain(figure: go.Figure) -> Any:
    return json.loads(figure.to_json())


def asset(name: str) -> Markup:
    """Return a style sheet or a script of the templates, as part of a page."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def as_json(value: Any) -> Markup:
    """Return ``value`` as JSON for a ``<script>`` element."""
    # Inside <script> there are no entities: characters that could end the element become JSON escapes.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
