"""The studies: what each is about, and its parts."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.cost import COSTS, CostMeasure
from harness.core.errors import SpecError, StorageError
from harness.core.results import Metric
from harness.storage import tables
from harness.storage.database import shown
from harness.storage.queries import now, read, write

_study, _split = tables.study, tables.split


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study: ``spec`` as last asked for, the rest as it was created."""

    name: str
    spec: dict[str, Any]
    data: dict[str, Any]
    advice: dict[str, Any]
    created_at: datetime

    @property
    def metric(self) -> Metric:
        """The metric that the study is judged by."""
        found: Metric = self.spec.get("metric", "accuracy")
        return found

    @property
    def cost(self) -> CostMeasure:
        """What the study trades that for."""
        return COSTS[self.spec.get("search", {}).get("cost", "flops")]


class Studies:
    """The tables ``harness_study`` and ``harness_split``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        name: str,
        *,
        spec: dict[str, Any],
        data: dict[str, Any],
        advice: dict[str, Any],
        split: Mapping[Any, Sequence[tuple[str, str, str]]] | None = None,
    ) -> None:
        """Record a new study.

        Args:
            name: Its name, unique in the database.
            spec: Its resolved spec, as JSON.
            data: The profile and the checks of its data, as JSON.
            advice: The advice for it, as JSON.
            split: Its parts: of each the images in the order drawn, as (file or row number, class, digest).

        Raises:
            StorageError: There is a study of that name.
        """
        row = {"name": name, "spec": spec, "data": data, "advice": advice, "created_at": now()}
        parts = [{"study": name, "part": part, "members": list(members)} for part, members in (split or {}).items()]
        try:
            write(self._engine, _study.insert().values(row), *(_split.insert().values(part) for part in parts))
        except sa.exc.IntegrityError:
            raise StorageError(
                f"there is already a study {name!r} in {shown(self._engine.url)}: resume it, or start it --fresh"
            ) from None

    def revise(self, name: str, spec: dict[str, Any]) -> None:
        """Replace the study's resolved spec: a resumed study may have other limits, and all its workers read them."""
        write(self._engine, _study.update().where(_study.c.name == name).values(spec=spec))

    def add_to_data(self, name: str, **values: Any) -> None:
        """Add ``values`` to the study's data. Where there is no such study, nothing happens."""
        row = sa.select(_study.c.data).where(_study.c.name == name).with_for_update()
        with self._engine.begin() as connection:
            before = connection.scalar(row)
            if before is not None:
                connection.execute(_study.update().where(_study.c.name == name).values(data=before | values))

    def find(self, name: str) -> StudyRow | None:
        """Return the study ``name``, None where there is none."""
        rows = read(self._engine, _study.select().where(_study.c.name == name))
        return StudyRow(**rows[0]._asdict()) if rows else None

    def get(self, name: str) -> StudyRow:
        """Return the study ``name``. Raises SpecError where there is none, naming the nearest and all there are."""
        found = self.find(name)
        if found is not None:
            return found
        known = self.names()
        if not known:
            raise SpecError(f"there is no study {name!r}: this database holds none yet; `harness run` makes one")
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f": did you mean {close[0]!r}?" if close else "."
        raise SpecError(f"there is no study {name!r} in this database{hint} It holds: {', '.join(known)}")

    def split(self, name: str) -> dict[str, list[tuple[str, str, str]]]:
        """Return the parts of the study: of each the images in the order drawn, as (file or row number, class,
        digest)."""
        rows = read(self._engine, _split.select().where(_split.c.study == name))
        return {row.part: [(image, label, digest) for image, label, digest in row.members] for row in rows}

    def names(self) -> list[str]:
        """Return the names of all studies, sorted."""
        return sorted(row.name for row in read(self._engine, sa.select(_study.c.name)))

    def delete(self, name: str) -> None:
        """Delete the study with all its rows in the tables of the harness. `Store.delete_study` drops Optuna's too."""
        write(self._engine, _study.delete().where(_study.c.name == name))
