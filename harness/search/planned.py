"""Optuna's storage for a study whose trials are planned before they run."""

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.storages import _CachedStorage
from optuna.storages._cached_storage import _StudyInfo
from optuna.trial import TrialState

from harness.storage.store import Store


class PlannedStorage(_CachedStorage):
    """Caches waiting trials until somebody claims them, as Optuna's own cache keeps finished ones.

    Trials are read several times for each that runs, and Optuna would read all unfinished ones again each time: 0.16 s
    for a thousand waiting trials. A trial that is seen waiting here may have been claimed a moment ago.
    """

    def __init__(self, store: Store, name: str) -> None:
        """Open the storage for the study ``name`` of ``store`` alone."""
        super().__init__(store.optuna_storage())
        self._store, self._name = store, name
        self._last_read = -1  # trial's id: they are planned by one process at a time, so none comes later that is lower
        self._up_to_date = False

    @contextmanager
    def read_once(self, study_id: int) -> Iterator[None]:
        """Read the trials now, and not again in the block: a sampler asks for them once for every group of parameters,
        ten times a trial, which is most of what many workers would spend in storage."""
        self._read_trials_from_remote_storage(study_id)
        self._up_to_date = True
        try:
            yield
        finally:
            self._up_to_date = False

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        """Update the cache, as the method that it replaces does."""
        if self._up_to_date:
            return
        with self._lock:
            known = self._studies.setdefault(study_id, _StudyInfo())
            free = self._store.tickets.free_numbers(self._name)
            begun = {
                trial._trial_id
                for trial in known.trials.values()
                if trial.state == TrialState.RUNNING or (trial.state == TrialState.WAITING and trial.number not in free)
            }
            found = self._backend._get_trials(study_id, None, begun, self._last_read)
            self._add_trials_to_cache(study_id, found)
            self._last_read = max([self._last_read, *(trial._trial_id for trial in found)])
