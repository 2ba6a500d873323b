"""The page of a study: one HTML file that needs nothing else, not even a network."""

import json
import os
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dashboards import words
from dashboards.figures import Drawing, draw
from dashboards.rows import Rows
from dashboards.summary import summarise
from dashboards.theme import COLOURS, DARK, INK, LINE, MUTED, PAPER
from harness.errors import StorageError
from harness.store import Store

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"accuracy": words.accuracy, "number": words.number, "seconds": words.seconds}


def write_page(store: Store, study_name: str, path: Path) -> None:
    """Write the study's page to ``path``, whole or not at all: a reader never sees half of it while it is refreshed.

    Raises SpecError for an unknown study and StorageError where ``path`` cannot be written.
    """
    text = render(Rows.read(store, study_name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)  # mkstemp makes it private; a page is there to be passed on
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the page {str(path)!r} cannot be written ({error.strerror}): give another path") from None


def render(rows: Rows) -> str:
    """The page as HTML. All text is escaped, and its content policy lets nothing be loaded and no other script run."""
    drawings = draw(rows)
    return _TEMPLATES.get_template("page.html.j2").render(
        rows=rows,
        summary=summarise(rows),
        drawings=drawings,
        trials=rows.trials.to_dict("records"),
        baselines=rows.baselines.to_dict("records"),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        nonce=secrets.token_urlsafe(16),
        theme={"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER},
        dark=DARK,
        colours=COLOURS,
        figures=_json({drawing.id: _plain(drawing) for drawing in drawings if drawing.figure is not None}),
        dark_json=_json(DARK),
        plotly_js=Markup(get_plotlyjs()),
    )


def _plain(drawing: Drawing) -> Any:
    assert drawing.figure is not None
    return json.loads(drawing.figure.to_json())


def _json(value: Any) -> Markup:
    # Inside <script> there are no entities: what could end the element is written as JSON escapes.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
