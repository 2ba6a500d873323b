"""The same figures and the summary inside optuna-dashboard, and optuna-dashboard served on this machine only."""

import html
import re
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard

from dashboards.figures import draw
from dashboards.rows import Rows
from dashboards.summary import summarise
from harness.errors import SpecError, StorageError
from harness.store import Store

HOST = "127.0.0.1"  # optuna-dashboard has no log-in and can delete studies


def attach(store: Store, study_name: str) -> None:
    """Save the figures and a note with the summary into the Optuna study; what an earlier call saved is replaced.

    Raises SpecError for an unknown study and StorageError where Optuna has none of that name.
    """
    rows = Rows.read(store, study_name)
    try:
        study = optuna.load_study(study_name=study_name, storage=store.optuna_storage())
    except KeyError:
        raise StorageError(
            f"Optuna's part of the database has no study {study_name!r}: run the study again with --fresh"
        ) from None
    for drawing in draw(rows):
        if drawing.figure is not None:
            # optuna-dashboard shows a figure by its id alone, so that the title goes into the figure.
            figure = drawing.figure.update_layout(
                title={"text": drawing.title, "automargin": True, "yref": "container"}
            )
            optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=drawing.id)
    body = note(rows)
    if body != optuna_dashboard.get_note(study):
        optuna_dashboard.save_note(study, body)


def note(rows: Rows) -> str:
    """The summary as Markdown; names in it show as they are, whatever they hold."""
    summary = summarise(rows)
    facts = [
        f"| {_markdown(fact.label)} | {_markdown(fact.value)} | {_markdown(fact.note)} |" for fact in summary.facts
    ]
    sentences = [f"- {_markdown(sentence)}" for sentence in summary.sentences]
    return "\n".join([f"## {_markdown(rows.name)}", "", *sentences, "", "| | | |", "|---|---|---|", *facts, ""])


def serve(store: Store, port: int) -> None:
    """Serve optuna-dashboard on 127.0.0.1 until interrupted; port 0 takes a free one. Prints the address.

    Raises SpecError where the port is taken.
    """
    app = optuna_dashboard.wsgi(store.optuna_storage())
    try:
        server = make_server(HOST, port, app, server_class=_ThreadingServer, handler_class=_QuietHandler)
    except (OSError, OverflowError) as error:
        raise SpecError(
            f"port {port} of {HOST} cannot be used ({error}): give another with --port, or 0 for any"
        ) from None
    with server:
        print(f"optuna-dashboard: http://{HOST}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        server.serve_forever()


def _markdown(text: str) -> str:
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~:])", r"\\\1", html.escape(one_line, quote=False))


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line for each request would drown the address."""
