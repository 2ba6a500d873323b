"""Write the page of an atlas: the verdicts in words, the map and its tables, all in one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from dashboards.figures.atlas import atlas_figure, atlas_numbers, elsewhere, ways_to_choose_k
from dashboards.page import TEMPLATES, one_figure, save
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
        title="Atlas: where the four scenarios are right",
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
        **one_figure(atlas_figure(placed, boundaries)),
    )
    save(text, path)
