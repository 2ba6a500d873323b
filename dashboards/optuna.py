"""Show the figures and the summary inside optuna-dashboard."""

import html
import re

import optuna
import optuna_dashboard

from dashboards.figures import draw
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.errors import StorageError
from harness.storage.store import Store

MOST_POINTS = 300
"""The most points in a figure here: optuna-dashboard stores figures as rows of 2,045 characters."""


def attach(store: Store, study_name: str) -> None:
    """Save the figures and a note with the summary in the Optuna study, in place of those of an earlier call.

    Raises SpecError for an unknown study and StorageError where Optuna has none of that name.
    """
    rows = Rows.read(store, study_name)
    try:
        study = optuna.load_study(study_name=study_name, storage=store.optuna_storage())
    except KeyError:
        raise StorageError(
            f"Optuna's part of the database has no study {study_name!r}: run the study again with --fresh"
        ) from None
    for drawing in draw(rows, MOST_POINTS):
        figure = drawing.views[rows.cost.unit].figure
        if figure is not None:
            # optuna-dashboard shows only the id of a figure, so the title goes into the figure.
            figure.update_layout(title={"text": drawing.title, "automargin": True, "yref": "container"})
            optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=drawing.id)
    body = note(rows)
    if body != optuna_dashboard.get_note(study):
        optuna_dashboard.save_note(study, body)


def note(rows: Rows) -> str:
    """Return the summary as Markdown. Names are escaped, so that they show as they are."""
    summary = summarise(rows)
    facts = [
        f"| {_markdown(fact.label)} | {_markdown(fact.value)} | {_markdown(fact.note)} |" for fact in summary.facts
    ]
    sentences = [f"- {_markdown(sentence)}" for sentence in summary.sentences]
    return "\n".join([f"## {_markdown(rows.name)}", "", *sentences, "", "| | | |", "|---|---|---|", *facts, ""])


def _markdown(text: str) -> str:
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~:])", r"\\\1", html.escape(one_line, quote=False))
