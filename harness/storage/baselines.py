"""The baselines of a study."""

from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.results import TrialResult
from harness.storage import tables
from harness.storage.database import one_at_a_time
from harness.storage.predictions import statements
from harness.storage.queries import Row, ending, frame, of_study, read, with_session, write

_baseline = tables.baseline


class Baselines:
    """The table ``harness_baseline``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, study: str, *, session: int, name: str, seed: int, result: TrialResult) -> None:
        """Record the result of the baseline ``name`` and its predictions, in place of earlier ones."""
        row = {
            "study": study, "name": name, "session": session, "seed": seed,
            "epochs": result.curve[-1].epoch if result.curve else 0, **ending(result),
        }  # fmt: skip
        earlier = _baseline.delete().where(_baseline.c.study == study, _baseline.c.name == name)
        with one_at_a_time(self._engine):  # on PostgreSQL two that record the same would both insert
            write(
                self._engine, earlier, _baseline.insert().values(row),
                *statements(study, name, result.predictions, seed=seed),
            )  # fmt: skip

    def frame(self, study: str) -> pd.DataFrame:
        """Return the baselines by name, with the columns of ``trial_summary`` that mean something for them."""
        return frame(self._engine, _query(study).order_by(_baseline.c.name))

    def measured_on(self, study: str, device: str) -> list[Row]:
        """Return the baselines that ran on such a ``device``, with the columns of `frame`."""
        query = _query(study).where(tables.session.c.device == device)
        return [row._mapping for row in read(self._engine, query)]


def _query(study: str) -> sa.Select[Any]:
    return with_session(of_study(_baseline, study).add_columns(tables.seconds_total(_baseline)), _baseline)
