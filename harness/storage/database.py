"""Connections to the database, SQLite or PostgreSQL, for our own tables and Optuna's alike, and their errors."""

import fcntl
import logging
import os
import re
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection

from harness.core.errors import StorageError
from harness.core.interrupts import stop_if_asked
from harness.core.strict_json import dumps

LOCK_WAIT = 60
"""Seconds that a writer waits for the others before it gives up (SQLite)."""

RETRY_SECONDS = 150
"""Seconds for which `retry_while_unavailable` tries again: more than a server's restart takes."""

_T = TypeVar("_T")
log = logging.getLogger(__name__)

_OPENING = 0x68_61_72_6E  # key of the PostgreSQL lock held while tables are created; any number that others do not use
_FULL = "is full: free some space, then run the same command again; all that was recorded before is kept"
_DAMAGED = "is not a SQLite database, or a damaged one: give another file with --storage"
_CLOSED = "cannot be opened for writing: make its folder and file writable, or give another with --storage"
_SQLITE_REMEDIES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_BUSY: f"was locked by another process for {LOCK_WAIT} s: end that process, then run again",
    sqlite3.SQLITE_PROTOCOL: "is fought over by too many processes: run again with fewer workers, or use PostgreSQL",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check the disk it is on, or give another with --storage",
}
_SQLITE_UNAVAILABLE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL}
_POSTGRES_REMEDIES = {
    "53100": _FULL,
    "42501": "does not let this user create or write tables: grant it, or give another database with --storage",
    "25006": "is read-only: connect to the primary server, or give another database with --storage",
}


class DatabaseUnavailable(StorageError):
    """The database does not answer for now: it restarts, the network is cut, another process holds its lock."""


def retry_while_unavailable(call: Callable[[], _T]) -> _T:
    """Return the result of ``call``; call it again while the database is unavailable, with growing pauses.

    A connection may be lost after the work was done and before the answer came, so ``call`` must be repeatable.

    Raises:
        DatabaseUnavailable: The database was still unavailable after `RETRY_SECONDS`. What else ``call`` raises is
            raised at once.
    """
    start, pause = time.monotonic(), 0.1
    while True:
        try:
            return call()
        except DatabaseUnavailable as error:
            if time.monotonic() - start > RETRY_SECONDS:
                raise
            if pause == 0.1:
                log.warning("%s; trying again for %d s", error, RETRY_SECONDS)
        stop_if_asked()
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def parse_url(url: str) -> URL:
    """Return the SQLAlchemy URL of a database. Plain ``postgresql://`` becomes ``postgresql+psycopg://``.

    Raises:
        StorageError: The URL does not parse, is of another kind than SQLite and PostgreSQL, has no installed driver, is
            of a database in memory, or names a file in a folder that does not exist.
    """
    parsed = split_url(url)
    try:
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        supported = parsed.get_backend_name() in ("sqlite", "postgresql") and not parsed.get_dialect().is_async
    except sa.exc.NoSuchModuleError:
        supported = False
    if not supported:
        raise StorageError(f"databases of kind {parsed.drivername!r} are not supported: {_FORMS}")
    try:
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        raise StorageError(
            f"the driver of {shown(parsed)} is not installed ({error}): pip install 'transfer-harness[postgres]'"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        _check_file(url, parsed)
    return parsed


_FORMS = "give sqlite:///folder/file.db or postgresql://user:password@host:port/database"


def split_url(url: str) -> URL:
    """Return the parts of a database URL. Raises StorageError where the end of a part is ambiguous."""
    try:
        # The text may hold a password that is indistinguishable from the rest: it is never repeated.
        parsed = sa.make_url(url)
        parsed.render_as_string()
    except (sa.exc.ArgumentError, ValueError):
        raise StorageError(f"the database URL of {len(url)} characters does not parse: {_FORMS}") from None
    if parsed.host is not None and (url.count("@") > 1 or not _HOST.fullmatch(parsed.host)):
        raise StorageError(
            f"in the database URL of {len(url)} characters the host and the password are ambiguous: "
            "write @ in a name or a password as %40"
        )
    return parsed


def _check_file(url: str, parsed: URL) -> None:
    database = parsed.database
    if not database or database == ":memory:" or database.startswith("file:"):
        raise StorageError(f"the SQLite database {database or ':memory:'!r} is not a plain file on disk: {_FORMS}")
    _, query, _ = url.partition("?")
    options = parsed.query.keys()
    if (query and not options) or options - _SQLITE_OPTIONS:  # what follows the ? may be a password: it is not repeated
        raise StorageError(
            f"the URL of the SQLite database {database!r} goes on with what is no option of SQLite: write ? in the "
            "name of a file as %3F"
        )
    literal = url.partition(":///")[2]
    # Not `Path.is_file`: a name that is too long for a path is no error here, but when it is opened.
    if os.path.isfile(literal) and not os.path.isfile(database):  # noqa: PTH113
        raise StorageError(f"the SQLite database {database!r} is not the file {literal!r}: write % in its name as %25")
    folder = Path(database).parent
    if not os.path.isdir(folder):  # noqa: PTH112
        raise StorageError(f"the folder {str(folder)!r} of the database {database!r} does not exist: create it first")


_SQLITE_OPTIONS = {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
"""What SQLAlchemy passes on; it ignores all else."""

HIDDEN = "***"
"""Replaces a password wherever a URL is shown."""

# What each part of a URL is made of where it is harmless.
_HOST = re.compile(r"[\w.,:%/-]*")
_WORDS = re.compile(r"[\w ./,+~-]*")
_USER = re.compile(r"[\w ./,+~@-]*")
_NEVER = re.compile(r"(?!)")
_SECRETS = {"password", "sslpassword"}  # options whose names may be shown, and nothing more
_OPTIONS = dict.fromkeys(
    (
        "port", "dbname", "service", "passfile", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl",
        "sslnegotiation", "gssencmode", "channel_binding", "connect_timeout", "application_name", "client_encoding",
        "target_session_attrs", "load_balance_hosts", "keepalives", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "timeout", "mode", "cache", "uri", "vfs", "check_same_thread",
    ),
    _WORDS,
) | {"host": _HOST, "hostaddr": _HOST, "user": _USER}  # fmt: skip


def shown(url: URL | str) -> str:
    """Return a database URL as it may be printed and recorded: `HIDDEN` replaces all that could be a password.

    Of text that does not parse nothing is shown.
    """
    if isinstance(url, str):
        if re.fullmatch(r"sqlite(\+\w+)?:///[^?]*", url):
            return url  # the path of a file, however it is written
        try:
            url = split_url(url)
        except StorageError:
            return HIDDEN
    secret = _hidden(url)

    def hide(part: str | None) -> str | None:
        return HIDDEN if part in secret else part

    options = [(key, value) for key, values in url.normalized_query.items() for value in values]
    kept = url.set(
        username=hide(url.username), password=hide(url.password), host=hide(url.host), database=hide(url.database),
        query={},
    ).update_query_pairs([(str(hide(key)), str(hide(value))) for key, value in options], append=True)  # fmt: skip
    text = kept.render_as_string(hide_password=False)
    return text.replace(quote(HIDDEN), HIDDEN)


def _hidden(url: URL) -> set[str]:
    """Return the parts of a URL that are a password or could be one.

    All but what is known to be harmless: a password stands in several places, and with a typing error (a ``;`` for the
    ``&``, an option's name) in any.
    """
    database = re.compile(r".*", re.DOTALL) if url.get_backend_name() == "sqlite" else _WORDS
    parts = [(url.username, _USER), (url.password, _NEVER), (url.host, _HOST), (url.database, database)]
    for key, values in url.normalized_query.items():
        if key not in _SECRETS:
            parts.append((key, _WORDS if key in _OPTIONS else _NEVER))
        parts += [(value, _OPTIONS.get(key, _NEVER)) for value in values]
    return {part for part, harmless in parts if part is not None and not harmless.fullmatch(part)}


def _without(secret: set[str], text: str) -> str:
    """Replace the secrets in the text by `HIDDEN`, also as they stand in a URL or among a driver's parameters."""
    written = {form for part in secret for form in (part, quote(part, safe=" +"), re.sub(r"(['\\])", r"\\\1", part))}
    for form in sorted(written - {""}, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def engine_options(url: URL) -> dict[str, Any]:
    """Return the keyword arguments of ``create_engine`` for ``url``, the same for our engine and for Optuna's."""
    # NaN is not JSON: PostgreSQL refuses it, SQLite would keep it and few readers could read it. It is null on both.
    options: dict[str, Any] = {
        "plugins": [_Settings.name],
        "json_serializer": partial(dumps, ensure_ascii=False),
    }
    if url.get_backend_name() == "sqlite":
        return options | {"connect_args": {"timeout": LOCK_WAIT}}
    # A server that is cut off closes no connection: without these a worker would wait 15 minutes for its answer.
    timeouts = {
        "connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3,
        "tcp_user_timeout": 35_000,
    }  # fmt: skip
    # A small pool keeps many workers under the server's limit: one connection for their trials, one for the heartbeat.
    return options | {"pool_size": 1, "max_overflow": 1, "pool_pre_ping": True, "connect_args": timeouts}


class _Settings(CreateEnginePlugin):
    """The listeners of an engine. A plug-in, since Optuna builds its engine itself and uses it immediately."""

    name = "harness"

    def update_url(self, url: URL) -> URL:
        return url

    def engine_created(self, engine: Engine) -> None:
        _engines.add(engine)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_pragmas)
            event.listen(engine, "close", _checkpoint)
        event.listen(engine, "handle_error", _explain, retval=True)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()

plugins.register(_Settings.name, __name__, _Settings.__name__)


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    # The driver would begin transactions by itself, and deferred ones.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _checkpoint(connection: DBAPIConnection, _record: object) -> None:
    # SQLite does this itself when the last connection to a file is closed, but another process may keep one open for
    # hours. Passive: it waits for nobody. What it cannot do, because the disk is full or the file no database, stays in
    # the log, as it would without.
    with suppress(sqlite3.Error):
        connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").close()


@contextmanager
def closing() -> Iterator[None]:
    """Close all connections of this process, ours and Optuna's, when the block ends, however it does.

    A SQLite database is then one whole file again: until it is closed, what was written last is in a log next to it.
    """
    try:
        yield
    finally:
        for engine in list(_engines):
            engine.dispose()


def begin_immediate(engine: Engine) -> None:
    """On SQLite, let every transaction of ``engine`` begin by waiting for the write lock.

    A deferred transaction that reads and then writes fails when another process wrote in between, and no waiting helps.
    Call this once the engine is ready for use: Optuna holds two transactions at a time while it builds its storage.
    """

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    if engine.dialect.name == "sqlite":
        event.listen(engine, "begin", begin)


def _explain(context: ExceptionContext) -> StorageError | None:
    """Return a StorageError for an error that the user can fix; None leaves a bug (bad SQL, a broken constraint)."""
    if context.is_pre_ping:  # a lost connection that the pool is about to replace
        return None
    original = context.original_exception
    remedy: str | None = None
    unavailable = False
    if isinstance(original, sqlite3.Error):
        # Exceptions that no SQLite call raised have no code; the low byte of an extended code is its kind.
        kind = getattr(original, "sqlite_errorcode", 0) & 0xFF
        remedy, unavailable = _SQLITE_REMEDIES.get(kind), kind in _SQLITE_UNAVAILABLE
    elif context.sqlalchemy_exception is not None:
        remedy = _POSTGRES_REMEDIES.get(getattr(original, "sqlstate", None) or "")
        if remedy is None and isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
            remedy = "does not answer: check that the server runs, and the URL's host, port, user and database"
            unavailable = True
        elif remedy is None and context.connection is None:
            remedy = "cannot be connected to as its URL says: correct the options after the ?"
    if remedy is None:
        return None
    url = context.engine.url if context.engine else None
    where = shown(url) if url else "in use"
    said = _without(_hidden(url) if url else set(), " ".join(str(original).split()))
    kind_of_error = DatabaseUnavailable if unavailable else StorageError
    return kind_of_error(f"the database {where} {remedy} ({said})")


@contextmanager
def one_at_a_time(engine: Engine) -> Iterator[None]:
    """Keep other processes that enter the same block for this database waiting, on whatever machine.

    Without it, processes that create the same tables fail, on SQLite and on PostgreSQL.

    Raises:
        StorageError: The folder of a SQLite database cannot be read.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OPENING)))
            yield
        return
    folder = Path(engine.url.database or "").parent
    # The folder, since closing a second handle of the file itself would drop SQLite's own locks on it.
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"the folder {str(folder)!r} of the database cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
