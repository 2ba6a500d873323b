"""Everything a study leaves behind, in one SQL database. See docs/database.md."""

from contextlib import AbstractContextManager

import optuna
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from harness.core.errors import StorageError
from harness.storage import database
from harness.storage.baselines import Baselines
from harness.storage.confirmations import Confirmations
from harness.storage.migrations import migrate
from harness.storage.predictions import KeptPredictions
from harness.storage.sessions import Sessions
from harness.storage.sqlite_files import refuse_missing_file
from harness.storage.studies import Studies
from harness.storage.tickets import Tickets
from harness.storage.trials import Trials


class Store:
    """The database of a study. Each worker process opens its own: connections do not survive a fork.

    The rows are read and written through ``studies``, ``sessions``, ``tickets``, ``trials``, ``baselines``,
    ``confirmations`` and ``predictions``, which share one engine. The store itself opens the database, and Optuna's
    tables in it, which mirror ours for optuna-dashboard.

    Every method raises StorageError for errors that the user can fix (a full disk, a lost server). Every call is one
    transaction, so that whatever had been recorded before stays recorded.
    """

    def __init__(self, url: str, *, must_exist: bool = False) -> None:
        """Open the database at ``url``, create its tables or bring them to this version.

        Args:
            url: The database's URL.
            must_exist: For what reads only: refuse a SQLite file that is not there, and a database without tables of
                the harness, instead of creating them.

        Raises:
            StorageError: The URL cannot be used (see `harness.storage.database.parse_url`), the database cannot be
                reached or written, is not one, or was made by another version of the harness.
        """
        if must_exist:
            refuse_missing_file(url)
        self._url = database.parse_url(url)
        self.url = self._url.render_as_string(hide_password=False)
        self.engine: Engine = sa.create_engine(self._url, **database.engine_options(self._url))
        database.begin_immediate(self.engine)
        with self.one_at_a_time(), self.engine.begin() as connection:
            migrate(connection, create=not must_exist)
        self.studies = Studies(self.engine)
        self.sessions = Sessions(self.engine)
        self.tickets = Tickets(self.engine)
        self.trials = Trials(self.engine)
        self.baselines = Baselines(self.engine)
        self.confirmations = Confirmations(self.engine)
        self.predictions = KeptPredictions(self.engine)

    def one_at_a_time(self) -> AbstractContextManager[None]:
        """Keep other processes that ask for the same waiting, on whatever machine: see `database.one_at_a_time`."""
        return database.one_at_a_time(self.engine)

    def optuna_storage(self) -> optuna.storages.RDBStorage:
        """Open Optuna's storage in the same database, with an engine of its own, and create its tables if there are
        none. Processes that do so at the same time fail: see `one_at_a_time`.

        Raises:
            StorageError: Optuna's tables are of another version than the installed Optuna.
        """
        try:
            storage = optuna.storages.RDBStorage(self.url, engine_kwargs=database.engine_options(self._url))
        except RuntimeError as error:  # what Optuna raises for another version of its tables
            raise StorageError(f"the database {database.shown(self._url)} cannot be used: {error}") from None
        database.begin_immediate(storage.engine)
        return storage

    def is_known_to_optuna(self, name: str) -> bool:
        """Tell whether Optuna's tables have a study of that name. The mirror of a new study would replace it."""
        storage = self.optuna_storage()
        try:
            return name in optuna.get_all_study_names(storage)
        finally:
            storage.engine.dispose()

    def delete_study(self, name: str) -> None:
        """Delete every row of the study ``name``, ours and then its mirror. Where there is none, nothing happens."""
        self.studies.delete(name)
        storage = self.optuna_storage()
        if name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
        storage.engine.dispose()
