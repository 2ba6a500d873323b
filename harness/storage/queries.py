"""What the classes of the store do alike with a connection: write, read rows, read a frame."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.results import TrialResult
from harness.storage import tables

Row = Mapping[Any, Any]
"""Values by column."""

_DTYPES = {
    tables.Real: "float64", sa.Integer: "int64", sa.BigInteger: "int64", sa.Boolean: "bool", sa.Text: "str",
    tables.Utc: "datetime64[us, UTC]",
}  # fmt: skip


def now() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(UTC)


def write(engine: Engine, *statements: sa.Executable) -> None:
    """Execute ``statements`` in one transaction."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def read(engine: Engine, query: sa.Select[Any]) -> list[sa.Row[Any]]:
    """Return all rows of ``query``."""
    with engine.connect() as connection:
        return list(connection.execute(query).all())


def frame(engine: Engine, query: sa.Select[Any]) -> pd.DataFrame:
    """Return the rows of ``query`` as a frame.

    The schema gives the types of its columns, so that no rows, or only NULLs, have those of a full table.
    """
    columns = list(query.selected_columns)
    values = zip(*rows, strict=True) if (rows := read(engine, query)) else [()] * len(columns)
    return pd.DataFrame(
        {
            column.key: pd.Series(found, dtype=_DTYPES.get(type(column.type)))
            for column, found in zip(columns, values, strict=True)
        }
    )


def of_study(table: sa.Table, study: str) -> sa.Select[Any]:
    """Return the query of the rows of ``table`` that belong to ``study``."""
    return sa.select(table).where(table.c.study == study)


def with_session(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """Add the commit and the device of the session that wrote each row of ``table`` to ``query``."""
    session = tables.session
    return query.add_columns(session.c.commit_hash, session.c.device).join(session, session.c.id == table.c.session)


def ending(result: TrialResult) -> dict[str, Any]:
    """Return the columns that say how a training ended, just now."""
    seconds = {f"seconds_{kind}": getattr(result.seconds, kind) for kind in result.seconds.__slots__}
    return {
        **{name: getattr(result, name) for name in tables.OUTCOME}, **seconds,
        "features_cached": result.features_cached, "finished_at": now(),
    }  # fmt: skip
