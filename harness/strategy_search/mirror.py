"""The Optuna study that shows ours to optuna-dashboard and to `optuna.load_study`. No sampler learns from it."""

import time
from contextlib import closing
from dataclasses import replace
from itertools import takewhile

import optuna
from optuna.trial import FrozenTrial

from harness.core.results import Checkpoint
from harness.core.spec import StudySpec
from harness.storage.queries import Row
from harness.storage.store import Store
from harness.strategy_search.history import Past
from harness.strategy_search.sampler import as_trial, experimental

_LARGEST_SHARE = 0.05
"""Of the time, that a running search spends on showing its trials."""


class Mirror:
    """Keeps the Optuna study of the same name equal to the finished trials of one of ours."""

    def __init__(self, store: Store, name: str) -> None:
        """Raises SpecError for an unknown study, StorageError where Optuna's tables are of another version."""
        self._store, self._name = store, name
        self._spec = StudySpec.model_validate(store.studies.get(name).spec)
        with store.one_at_a_time():
            self._storage = store.optuna_storage()
        self._study: optuna.Study | None = None
        self._rest_until = -float("inf")

    def keep_up(self) -> None:
        """Do `update`, unless that would take too large a share of the time: with the number of trials it takes longer,
        and trials of a moment need not be shown one by one. Call `update` at the end."""
        begin = time.monotonic()
        if begin >= self._rest_until:
            self.update()
            end = time.monotonic()
            self._rest_until = end + (end - begin) / _LARGEST_SHARE

    def update(self) -> None:
        """Add the trials that have finished since, by number, so that Optuna's numbers are ours.

        Those after one that still runs wait for it. If a trial that was left out has finished after all, such as one
        that did not fit in a time limit, the Optuna study is made again.
        """
        with self._store.one_at_a_time():
            there = self._there()
            first = next(place for place, number in enumerate([*there, None]) if place != number)
            rows = self._finished(first)
            if [row["number"] for row in rows[: len(there) - first]] != there[first:]:
                optuna.delete_study(study_name=self._name, storage=self._storage)
                there, first, rows = self._there(), 0, self._finished(0)
            new = rows[len(there) - first :]
            curves = self._store.trials.curves(self._name, new[0]["number"]) if new else {}
            for row in new:
                self._open().add_trial(self._trial(row, curves.get(row["number"], [])))

    def close(self) -> None:
        """Close the connections."""
        self._storage.engine.dispose()

    def _open(self) -> optuna.Study:
        if self._study is None:
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=self._name,
                directions=["maximize", "minimize"],
                load_if_exists=True,
            )
            with experimental():
                self._study.set_metric_names([f"val_{self._spec.metric}", self._spec.search.cost_measure.spent])
        return self._study

    def _there(self) -> list[int]:
        """Return the numbers of Optuna's trials. Someone may have deleted the study in optuna-dashboard."""
        if self._name not in optuna.get_all_study_names(self._storage):
            self._study = None
        return [trial.user_attrs.get("number", -1) for trial in self._open().get_trials(deepcopy=False)]

    def _finished(self, first: int) -> list[Row]:
        rows = self._store.trials.since(self._name, first)
        return list(takewhile(lambda row: row["status"] is not None, rows))

    def _trial(self, row: Row, curve: list[Checkpoint]) -> FrozenTrial:
        past = replace(Past.of(row, self._spec), notes={})  # no sampler reads them here, and writing takes time
        trial = as_trial(past, self._spec)
        trial.datetime_start, trial.datetime_complete = row["started_at"], row["finished_at"]
        trial.intermediate_values = {point.epoch: point.score(self._spec.metric) for point in curve}
        described = ("number", "origin", "status", "reason", "predicted_seconds")
        trial.user_attrs = {name: row[name] for name in described if row[name] not in (None, "")}
        trial.user_attrs["strategy"] = past.strategy.label()
        return trial


def mirror(store: Store, name: str) -> None:
    """Bring the Optuna study of that name up to date: see `Mirror`."""
    with closing(Mirror(store, name)) as found:
        found.update()
