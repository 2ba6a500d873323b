"""Moving a whole study from one database to another, of the same kind or not."""

from typing import Any

import optuna
import sqlalchemy as sa

from harness.errors import StorageError
from harness.heartbeat import Watch
from harness.search import open_study, recover
from harness.store import Store


def copy_study(source: Store, target: Store, name: str, new_name: str | None = None) -> None:
    """Copy every row of the study ``name``, ours and Optuna's, to ``target``, there maybe under a ``new_name``.

    Numbers, times, states and attributes stay; sessions get new ids, which their rows follow. All of it is copied or
    nothing. Raises StorageError where the target has a study of that name.
    """
    new_name = new_name or name
    optunas = target.optuna_storage()
    if target.study(new_name) is not None or new_name in optuna.get_all_study_names(optunas):
        raise StorageError(f"there is already a study {new_name!r} in the target: import it --as another name")
    optuna.copy_study(
        from_study_name=name, from_storage=source.optuna_storage(), to_storage=optunas, to_study_name=new_name
    )
    try:
        with source.engine.connect() as reading, target.engine.begin() as writing:
            _copy_rows(reading, writing, name, new_name)
    except BaseException:
        optuna.delete_study(study_name=new_name, storage=optunas)
        raise


def _copy_rows(reading: sa.Connection, writing: sa.Connection, name: str, new_name: str) -> None:
    """The tables are those the database has, so that one that is added later is not forgotten here."""
    tables = sa.MetaData()
    tables.reflect(reading, only=lambda table, _: table.startswith("harness_"))
    sessions: dict[int, int] = {}
    for table in tables.sorted_tables:  # those that others refer to come first
        owner = table.c.get("study", table.c.get("name"))
        if owner is None:  # the version of the schema
            continue
        for found in reading.execute(table.select().where(owner == name).order_by(*table.primary_key)):
            row: dict[str, Any] = {**found._mapping, owner.name: new_name}
            if table.name == "harness_study":
                row["spec"] = {**row["spec"], "name": new_name}
            if row.get("session") is not None:
                row["session"] = sessions[row["session"]]
            if table.name == "harness_session":
                old = row.pop("id")
                sessions[old] = writing.execute(table.insert().values(row).returning(table.c.id)).scalar_one()
            else:
                writing.execute(table.insert().values(row))


def nobody_works_on(store: Store, name: str) -> None:
    """Raises StorageError where a process still works on the study, or may: what it writes would be lost."""
    recover(open_study(store, name), store, Watch(store, name))
    hosts = sorted({session.host.partition("/")[0] for session in store.open_sessions(name)})
    if hosts:
        raise StorageError(
            f"study {name!r} is being worked on from {', '.join(hosts)}: stop that first. If it was killed there, "
            "`harness run` on the study finds that out in two minutes"
        )
