"""Serve the live page at ``/`` and optuna-dashboard at ``/dashboard/``, on this machine only."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
import sqlalchemy as sa

from dashboards.optuna import attach
from dashboards.page import render
from harness.analysis.rows import Rows
from harness.core.errors import SpecError
from harness.storage.store import Store

HOST = "127.0.0.1"  # optuna-dashboard has no login and can delete studies

_Respond = Callable[..., Any]


class Live:
    """The web application (WSGI): it answers requests for the page itself and hands all others to optuna-dashboard.

    A request renders the page and updates trials and figures inside optuna-dashboard where there are new results. A
    study that nobody looks at costs nothing.
    """

    def __init__(self, store: Store, study_names: Sequence[str], mirror: Callable[[], None] = lambda: None) -> None:
        """Serve these studies of ``store``. ``mirror`` shows what is new in them to Optuna."""
        self._store, self._names, self._mirror = store, tuple(study_names), mirror
        self._optuna = optuna_dashboard.wsgi(store.optuna_storage())
        self._lock = threading.Lock()
        self._read: tuple[str, list[Rows]] = ("", [])

    def __call__(self, environ: dict[str, Any], respond: _Respond) -> Iterable[bytes]:
        """Answer a request (WSGI)."""
        # DNS rebinding: the name of another site could resolve to this address, and its page read ours.
        if environ.get("HTTP_HOST", "").partition(":")[0] not in (HOST, "localhost"):
            port = environ["SERVER_PORT"]
            text = (
                f"this server answers to {HOST} only. On another machine run ssh -L {port}:{HOST}:{port} USER@SERVER, "
                f"where SERVER is this machine, and open http://{HOST}:{port}/ there"
            )
            return _answer(respond, "403 Forbidden", text)
        path = environ["PATH_INFO"]
        if path not in ("/", "/content"):
            answer: Iterable[bytes] = self._optuna(environ, respond)
            return answer
        if path == "/content" and parse_qs(environ["QUERY_STRING"]).get("since") == [self._version()]:
            respond("204 No Content", [])
            return []
        version, rows = self.current()
        return _answer(respond, "200 OK", render(rows, version=version, whole=path == "/"))

    def _version(self) -> str:
        """Return a hash that changes when the studies' results do."""
        seen: list[Any] = []
        with self._store.engine.connect() as connection:
            for table in ("harness_checkpoint", "harness_trial", "harness_baseline", "harness_opening"):
                last = "train_seconds" if table == "harness_checkpoint" else "finished_at"
                query = f"select count(*), max({last}) from {table} where study = :study"
                seen += (tuple(connection.execute(sa.text(query), {"study": name}).one()) for name in self._names)
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:12]

    def current(self) -> tuple[str, list[Rows]]:
        """Return the version of the results and the studies' rows; update what optuna-dashboard shows with them."""
        with self._lock:  # one read of the database serves all readers
            version = self._version()
            if self._read[0] != version:
                self._read = (version, [Rows.read(self._store, name) for name in self._names])
                self._mirror()
                for name in self._names:
                    attach(self._store, name)
            return self._read


def server(
    store: Store, study_names: Sequence[str], port: int, mirror: Callable[[], None] = lambda: None
) -> WSGIServer:
    """Return a server of the studies, bound and ready to ``serve_forever``; port 0 takes a free port.

    Raises SpecError for an unknown study and where the port is taken, StorageError for a study that Optuna lacks.
    """
    live = Live(store, study_names, mirror)
    live.current()  # errors in the studies come before there is an address
    try:
        return make_server(HOST, port, live, server_class=_Server, handler_class=_QuietHandler)
    except (OSError, OverflowError) as error:
        raise SpecError(
            f"port {port} of {HOST} cannot be used ({error}): give another with --port, or 0 for any"
        ) from None


def serve(store: Store, study_names: Sequence[str], port: int, mirror: Callable[[], None] = lambda: None) -> None:
    """Print the addresses and serve until interrupted. Raises what `server` raises."""
    with server(store, study_names, port, mirror) as running:
        address = f"http://{HOST}:{running.server_port}/"
        print(f"live page: {address}  (Ctrl-C ends it)\noptuna-dashboard: {address}dashboard/", flush=True)
        running.serve_forever()


def _answer(respond: _Respond, status: str, text: str) -> list[bytes]:
    body = text.encode()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    respond(status, [*headers, ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a line for each request would hide the addresses."""
