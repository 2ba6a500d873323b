"""The openings of the held-out test set: what each is for, fixed before it, and what it measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.errors import StorageError
from harness.core.results import METRICS, Candidate, TrialResult
from harness.core.strategy import Strategy
from harness.storage import tables
from harness.storage.predictions import statements
from harness.storage.queries import ending, frame, now, of_study, read, with_session, write

_opening, _candidate, _confirmation = tables.opening, tables.candidate, tables.confirmation


@dataclass(frozen=True, slots=True)
class Opening:
    """What the test set is opened for: every one of the ``candidates`` is trained with every one of the ``seeds``.

    ``finalists`` is the number that was asked for, ``n_test`` the number of test images.
    """

    command: str
    finalists: int
    seeds: Sequence[int]
    n_test: int
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A candidate that was trained on ``n_train`` images with ``seed`` and evaluated on the test set.

    ``result`` is of a problem whose validation set is the test set: what it calls validation is stored as test.
    """

    candidate: str
    seed: int
    n_train: int
    result: TrialResult


class Confirmations:
    """The tables ``harness_opening``, ``harness_candidate`` and ``harness_confirmation``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_test_opening(self, study: str, opening: Opening, *, session: int) -> int:
        """Record that the test set is about to be opened, and return the opening's number, from 1.

        Raises:
            StorageError: Another process opens it at the same time.
        """
        row = {
            "study": study, "session": session, "command": opening.command, "finalists": opening.finalists,
            "seeds": list(opening.seeds), "n_test": opening.n_test, "opened_at": now(),
        }  # fmt: skip
        candidates = [
            {
                "study": study, "name": candidate.name, "position": position, "roles": ", ".join(candidate.roles),
                "trial": candidate.trial, **dict.fromkeys(tables.STRATEGY),
                **(candidate.strategy.as_row() if candidate.strategy else {}),
            }
            for position, candidate in enumerate(opening.candidates)
        ]  # fmt: skip
        try:
            with self._engine.begin() as connection:
                last = connection.scalar(sa.select(sa.func.max(_opening.c.number)).where(_opening.c.study == study))
                number = (last or 0) + 1
                connection.execute(_opening.insert().values(row | {"number": number}))
                connection.execute(_candidate.insert(), [one | {"opening": number} for one in candidates])
        except sa.exc.IntegrityError:
            raise StorageError(
                f"the test set of study {study!r} is being opened by another process: wait for it"
            ) from None
        return number

    def finish_test_opening(self, study: str, number: int) -> None:
        """Record that every candidate of the opening has been measured with every seed."""
        which = (_opening.c.study == study, _opening.c.number == number)
        write(self._engine, _opening.update().where(*which).values(finished_at=now()))

    def record(self, study: str, opening: int, confirmation: Confirmation, *, session: int) -> None:
        """Record what one candidate reached and predicted with one seed, in place of an earlier record of the same."""
        result = confirmation.result
        ended = ending(result)
        key = {"study": study, "opening": opening, "candidate": confirmation.candidate, "seed": confirmation.seed}
        row = {
            **key, "session": session, "n_train": confirmation.n_train,
            **{f"test_{metric}": result.score(metric) for metric in METRICS}, "test_loss": result.val_loss,
            "test_top5_accuracy": result.val_top5_accuracy, "test_auroc": result.val_auroc,
            "correct": None if result.predictions is None else np.packbits(result.predictions.correct).tobytes(),
            **{name: ended[name] for name in ("status", "reason", "train_flops", *tables.SECONDS, "finished_at")},
        }  # fmt: skip
        earlier = _confirmation.delete().where(*(_confirmation.c[name] == value for name, value in key.items()))
        predictions = statements(
            study, confirmation.candidate, result.predictions, seed=confirmation.seed, opening=opening
        )
        write(self._engine, earlier, _confirmation.insert().values(row), *predictions)

    def openings(self, study: str) -> pd.DataFrame:
        """Return the openings by number. ``finished_at`` is missing where one was interrupted."""
        return frame(self._engine, of_study(_opening, study).order_by("number"))

    def candidates(self, study: str, opening: int) -> list[Candidate]:
        """Return what that opening is for, in its order."""
        query = of_study(_candidate, study).where(_candidate.c.opening == opening).order_by("position")
        return [
            Candidate(
                row.name,
                tuple(row.roles.split(", ")),
                Strategy.from_row(row._mapping) if row.strategy is not None else None,
                row.trial,
            )
            for row in read(self._engine, query)
        ]

    def frame(self, study: str) -> pd.DataFrame:
        """Return what the openings measured, by opening, candidate and seed.

        ``correct`` has one bit for each test image, in their order: set where the image was recognised. 8 of them are a
        byte, the first one its highest bit, as `numpy.unpackbits` reads it.
        """
        query = with_session(of_study(_confirmation, study), _confirmation)
        return frame(self._engine, query.order_by("opening", "candidate", "seed"))
