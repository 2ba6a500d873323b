"""The progress of a study over all its workers."""

from collections import defaultdict

import sqlalchemy as sa

from harness.core.results import Standing
from harness.storage import tables
from harness.storage.queries import read
from harness.storage.store import Store

_trial, _ticket = tables.trial, tables.ticket


def standing(store: Store, study: str) -> Standing:
    """Return the study's progress. A trial without a prediction counts as the mean of its strategy's, or of all."""
    score = _trial.c[f"val_{store.studies.get(study).metric}"]
    kind = sa.func.coalesce(_trial.c.strategy, _ticket.c.params["strategy"].as_string())
    query = (
        sa.select(
            kind.label("kind"),
            _ticket.c.finished,
            sa.func.count().label("trials"),
            sa.func.count(_trial.c.predicted_seconds).label("predicted"),
            sa.func.sum(_trial.c.predicted_seconds).label("seconds"),
            sa.func.count(sa.case((_ticket.c.session.is_not(None), 1))).label("held"),
            sa.func.count(sa.case((_trial.c.status.not_in(_NOT_PRUNED), 1))).label("pruned"),
            sa.func.max(sa.case((_trial.c.status == "complete", score))).label("best"),
        )
        .select_from(_ticket)
        .outerjoin(_trial, sa.and_(_trial.c.study == _ticket.c.study, _trial.c.number == _ticket.c.number))
        .where(_ticket.c.study == study)
        .group_by("kind", _ticket.c.finished)
    )
    rows = read(store.engine, query)
    seconds, predicted = defaultdict[str | None, float](float), defaultdict[str | None, int](int)
    for row in rows:
        seconds[row.kind] += row.seconds or 0.0
        predicted[row.kind] += row.predicted
    known = sum(predicted.values())
    usual = sum(seconds.values()) / known if known else 1.0
    means = {kind: seconds[kind] / count if count else usual for kind, count in predicted.items()}
    work = {True: 0.0, False: 0.0}  # by whether it is done
    for row in rows:
        work[bool(row.finished)] += (row.seconds or 0.0) + (row.trials - row.predicted) * means[row.kind]
    return Standing(
        finished=sum(row.trials for row in rows if row.finished),
        running=sum(row.held for row in rows if not row.finished),
        pruned=sum(row.pruned for row in rows),
        best=max((row.best for row in rows if row.best is not None), default=None),
        work_done=work[True],
        work_left=work[False],
        predicted=known > 0,
    )


_NOT_PRUNED = ("complete", "failed", "out_of_memory")
