"""Which images a trial gets wrong, from the predictions that are kept of it and of the others."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.rows import best_of
from harness.core.errors import SpecError
from harness.storage.store import Store


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Predictions of one trial for n images of a part.

    Attributes:
        name: Whose predictions, such as ``trial 3``.
        classes: Names of all classes.
        part: ``validation``, or ``test`` after a confirmation.
        files: (n,) absolute paths, or row numbers of an array.
        true: (n,) class numbers.
        predicted: (n,) class numbers.
        probability: (n,) of the predicted class.
        wrong_in: (n,) how many of the ``n_models`` get the image wrong: trials of the search, or seeds of a
            confirmation.
    """

    name: str
    classes: tuple[str, ...]
    part: str
    files: tuple[str, ...]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    wrong_in: NDArray[np.int64]
    n_models: int

    @classmethod
    def read(cls, store: Store, study: str, trial: int | None = None, *, test: bool = False) -> Self | None:
        """Read the predictions of ``trial``, by default of the complete one that validates best.

        With ``test`` those of the last confirmation, for the test set, of its first seed. Returns None where the study
        has none: it was made before they were kept, or no trial is complete.

        Raises SpecError for a trial without predictions, and for a test set that is sealed.
        """
        opening = _opening(store, study) if test else 0
        names = [name for name in store.predictions.names(study, opening) if name.startswith("trial ")]
        if not names:
            return None
        name = _best(store, study, names) if trial is None else f"trial {trial}"
        if name not in names:
            raise SpecError(
                f"no predictions of trial {trial}{' for the test set' if test else ''} are kept: give --trial one of "
                f"{', '.join(each.removeprefix('trial ') for each in names[:10])}{', …' if len(names) > 10 else ''}"
            )
        frame = store.predictions.frame(study, [name] if test else names, opening=opening)
        wrong = (frame["true"].cat.codes != frame["predicted"].cat.codes).groupby(frame["image"]).sum()
        models = frame.groupby(["name", "seed"]).ngroups
        own = frame[frame["name"] == name]
        own = own[own["seed"] == own["seed"].iloc[0]].sort_values("image")
        return cls(
            name,
            tuple(map(str, own["true"].cat.categories)),
            "test" if test else "validation",
            tuple(own["file"]),
            _codes(own["true"]),
            _codes(own["predicted"]),
            own["probability"].to_numpy(),
            np.asarray(wrong.sort_index(), np.int64),
            int(models),
        )

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which images are classified wrongly (n,)."""
        wrong: NDArray[np.bool_] = self.true != self.predicted
        return wrong

    def counts(self) -> NDArray[np.int64]:
        """Return the confusion matrix (classes, classes): true class by predicted class."""
        found = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(found, (self.true, self.predicted), 1)
        return found

    def most_confident(self, most: int) -> NDArray[np.int64]:
        """Return the positions of the wrongly classified images, the most confident mistakes first."""
        order = np.argsort(-self.probability, kind="stable")
        return order[self.wrong[order]][:most]

    def hardest(self, most: int) -> NDArray[np.int64]:
        """Return the positions of the images that at least half of the models get wrong, the hardest first."""
        order = np.argsort(-self.wrong_in, kind="stable")
        return order[2 * self.wrong_in[order] >= self.n_models][:most] if self.n_models > 1 else order[:0]

    def of_cells(self, each: int, most: int) -> NDArray[np.int64]:
        """Return the positions of at most ``each`` images of a cell of the confusion matrix and at most ``most`` in
        all, the most confident mistakes first, then what is right."""
        order = np.lexsort((-self.probability, ~self.wrong))
        cells = pd.Series(self.true[order] * len(self.classes) + self.predicted[order])
        return order[(cells.groupby(cells).cumcount() < each).to_numpy()][:most]


def _codes(values: pd.Series) -> NDArray[np.int64]:
    return np.asarray(values.cat.codes, np.int64)


def _opening(store: Store, study: str) -> int:
    openings = store.confirmations.openings(study)
    finished = openings[openings["finished_at"].notna()] if len(openings) else openings
    if not len(finished):
        raise SpecError(
            f"the held-out test set of study {study!r} is sealed: leave --test out, or open it first with `harness "
            "confirm`"
        )
    return int(finished["number"].iloc[-1])


def _best(store: Store, study: str, names: list[str]) -> str:
    row, trials = store.studies.get(study), store.trials.frame(study)
    kept = trials[("trial " + trials["number"].astype(str)).isin(names)]
    best = best_of(kept, f"val_{row.metric}", row.cost)
    assert best is not None  # complete trials have a score
    return f"trial {best['number']}"
