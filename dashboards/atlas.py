"""Write the page of an atlas: the verdicts in words, the map and its tables, all in one HTML file."""

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dashboards.figures.atlas import atlas_figure, atlas_numbers, elsewhere, ways_to_choose_k
from dashboards.page import TEMPLATES, as_json, asset, save
from dashboards.theme import DARK, INK, LINE, MUTED, PAPER
from harness.analysis.atlas_summary import overall, verdict_in_words
from harness.analysis.verdicts import Found, places, verdicts
from harness.core.errors import SpecError
from harness.core.spec import AdviceSpec


def write_atlas(found: Sequence[Found], boundaries: AdviceSpec, path: Path) -> None:
    """Write the page of the small searches' results ``found`` to ``path``, under these boundaries.

    Raises SpecError where there is nothing to compare yet and StorageError where ``path`` cannot be written.
    """
    placed = places(found, boundaries)
    if not placed:
        raise SpecError("no data set has results of two strategies yet: run the atlas first")
    text = TEMPLATES.get_template("atlas.html.j2").render(
        verdict=overall(found, placed),
        sentences=[verdict_in_words(verdict) for verdict in verdicts(placed)],
        numbers=atlas_numbers(placed),
        elsewhere=elsewhere(found, boundaries),
        ways=ways_to_choose_k(found),
        boundaries=boundaries,
        seeds=len({trial.seed for trial in found}),
        epochs=sorted({(trial.size, trial.epochs) for trial in found}),
        n_validation=sorted({trial.n_validation for trial in found}),
        n_trials=len(found),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        nonce=secrets.token_urlsafe(16),
        theme={"ink": INK, "muted": MUTED, "line": LINE, "paper": PAPER},
        dark=DARK,
        figure=as_json(json.loads(atlas_figure(placed, boundaries).to_json())),
        dark_json=as_json(DARK),
        css=asset("page.css"),
        plotly_js=Markup(get_plotlyjs()),
    )
    save(text, path)
