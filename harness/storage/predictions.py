"""The predictions of trials, baselines and confirmations, image by image."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sqlalchemy.engine import Engine

from harness.core.calibration import Calibration
from harness.core.predictions import Predictions
from harness.storage import tables
from harness.storage.queries import frame, of_study, read

_prediction, _split, _study = tables.prediction, tables.split, tables.study

_ENCODED = np.dtype(">u2")  # the highest byte first, so that SQL's hex() shows the numbers in their digits
_ONE = 65535
"""What a probability of 1 is stored as."""


class KeptPredictions:
    """The table ``harness_prediction``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self, study: str, opening: int = 0) -> list[str]:
        """Return whose predictions are kept, sorted: ``trial 3``, a baseline's name.

        Of the search on the validation set, or of that ``opening`` of the held-out test set.
        """
        which = (_prediction.c.study == study, _prediction.c.opening == opening)
        found = read(self._engine, sa.select(_prediction.c.name).where(*which).distinct())
        return sorted((row.name for row in found), key=lambda name: (len(name), name))

    def calibration(self, study: str, trial: int) -> Calibration | None:
        """Return what a temperature would do for the predictions of a trial of the search; None where it has none."""
        which = (_prediction.c.opening == 0, _prediction.c.name == f"trial {trial}")
        found = read(self._engine, sa.select(_prediction.c.calibration).where(_prediction.c.study == study, *which))
        stored = [row.calibration for row in found if row.calibration is not None]
        return TypeAdapter(Calibration).validate_python(stored[0]) if stored else None

    def frame(self, study: str, names: Sequence[str] | None = None, *, opening: int = 0) -> pd.DataFrame:
        """Return the predictions for every image.

        Args:
            study: The study's name.
            names: Whose predictions, as in `names`; None for all.
            opening: 0 for the search's, for the validation set; the number of an opening for those of the test set.

        Returns:
            One row an image, by name, seed and image. Columns: ``name`` and ``seed`` of what predicted; ``image``, the
            image's position in its part, from 0; ``file``, as in ``harness_split``: absolute, or the row number of an
            array; ``true`` and ``predicted``, names of classes, categories in the study's order of all its classes;
            ``probability`` of the predicted class and ``true_probability`` of the true one, to 1 / 65535.
        """
        which = [_prediction.c.opening == opening, *([] if names is None else [_prediction.c.name.in_(names)])]
        query = of_study(_prediction, study).where(*which).order_by("name", "seed")
        kept = frame(self._engine, query)
        part = "validation" if opening == 0 else "test"
        with self._engine.connect() as connection:
            data = connection.scalar(sa.select(_study.c.data).where(_study.c.name == study)) or {}
            members = connection.scalar(
                sa.select(_split.c.members).where(_split.c.study == study, _split.c.part == part)
            )
        files, true, _ = zip(*members, strict=True) if members else ((), (), ())
        n, classes = len(files), data.get("class_names", [])
        return pd.DataFrame(
            {
                "name": pd.Series(np.repeat(kept["name"].to_numpy(), n), dtype="str"),
                "seed": np.repeat(kept["seed"].to_numpy(), n),
                "image": np.tile(np.arange(n), len(kept)),
                "file": pd.Series(list(files) * len(kept), dtype="str"),
                "true": pd.Categorical(list(true) * len(kept), classes),
                "predicted": pd.Categorical.from_codes(_decoded(kept["predicted"]), classes),
                "probability": _decoded(kept["probability"]) / _ONE,
                "true_probability": _decoded(kept["true_probability"]) / _ONE,
            }
        )


def statements(
    study: str, name: str, predictions: Predictions | None, *, seed: int, opening: int = 0
) -> list[sa.Executable]:
    """Return what records ``predictions`` in place of earlier ones; None records none."""
    key = {"study": study, "opening": opening, "name": name, "seed": seed}
    # A baseline that runs again may have another seed.
    earlier = ["study", "opening", "name", *(["seed"] if opening else [])]
    found: list[sa.Executable] = [
        _prediction.delete().where(*(_prediction.c[column] == key[column] for column in earlier))
    ]
    if predictions is not None:
        row = key | {
            "predicted": _encoded(predictions.predicted),
            "probability": _encoded(predictions.probability * _ONE),
            "true_probability": _encoded(predictions.true_probability * _ONE),
            "calibration": None if predictions.calibration is None else asdict(predictions.calibration),
        }
        found.append(_prediction.insert().values(row))
    return found


def _encoded(values: NDArray[Any]) -> bytes:
    return bytes(np.rint(values).astype(_ENCODED).data)


def _decoded(stored: pd.Series) -> NDArray[np.int64]:
    return np.frombuffer(b"".join(stored), _ENCODED).astype(np.int64)
