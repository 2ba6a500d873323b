"""The Optuna study that mirrors our own: the sampler learns from it and optuna-dashboard shows it."""

import logging
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.core.results import Standing, Status
from harness.search.planned import PlannedStorage
from harness.search.sampler import experimental
from harness.storage.database import retry_while_unavailable
from harness.storage.heartbeat import Watch
from harness.storage.store import Store

log = logging.getLogger(__name__)

optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is ours to show


def open_study(store: Store, name: str) -> optuna.Study:
    """Open the Optuna study of that name, or create it: the study's metric is maximized, its compute minimized."""
    row = store.studies.get(name)
    study = optuna.create_study(
        storage=PlannedStorage(store, name), study_name=name, directions=["maximize", "minimize"], load_if_exists=True
    )
    with experimental():
        study.set_metric_names([f"val_{row.metric}", row.cost.spent])
    return study


def recover(study: optuna.Study, store: Store, watch: Watch) -> int:
    """Put trials whose process is gone back among the waiting ones, with their number and parameters.

    The tickets say who has which trial; Optuna's states follow them, also where a process was lost between the two.

    Returns:
        How many trials were put back.
    """
    name = study.study_name
    taken = [number for session in watch.dead() for number in store.tickets.release_dead_session(name, session)]
    for number in taken:
        log.warning("trial %d was left by a process that is gone: it is run again", number)
    # Read in this order: a trial that is claimed in between is no longer free. What was taken may have been claimed and
    # lost between two checks of this process, and was never seen running.
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    running = {trial.number for trial in unfinished if trial.state == TrialState.RUNNING}
    for number in running.union(taken) & store.tickets.free_numbers(name):
        set_state(study, number, TrialState.WAITING)
    if unfinished and (begun := store.studies.find(name)) is not None:
        rows: dict[int, dict[Hashable, Any]] = {
            row["number"]: row for row in store.trials.frame(name).to_dict("records")
        }
        for trial in unfinished:
            if (row := rows.get(trial.number)) is not None:
                score = row[f"val_{begun.metric}"]
                close_trial(study, trial.number, row["status"], row["reason"], score, row[begun.cost.spent])
    return len(taken)


def set_state(study: optuna.Study, number: int, state: TrialState) -> int:
    """Set a trial's state in Optuna, unless it has finished, and return its id there."""
    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, state)
    return trial_id


def close_trial(
    study: optuna.Study, number: int, status: Status, reason: str, score: float | None, cost: float
) -> None:
    """Finish the trial in Optuna. A trial that was stopped early is PRUNED there, so that it has no values to compare.

    All values come from our own record: they are the same whoever calls this, and however often.
    """
    trial_id = set_state(study, number, TrialState.RUNNING)
    with suppress(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(trial_id, "status", status)
        if reason:
            study._storage.set_trial_user_attr(trial_id, "reason", reason)
        if status == "over_budget":
            optuna.Trial(study, trial_id).set_constraint("budget", 1.0)  # more than 0: the sampler looks elsewhere
        if status == "complete":
            assert score is not None
            study.tell(number, [score, cost], skip_if_finished=True)
        else:
            state = TrialState.FAIL if status in ("failed", "out_of_memory") else TrialState.PRUNED
            study.tell(number, state=state, skip_if_finished=True)


def planned_kind(trial: FrozenTrial) -> Any:
    return trial.params.get("strategy", trial.system_attrs.get("fixed_params", {}).get("strategy"))


def finished(study: optuna.Study) -> int:
    """Return how many trials of the study have ended, in whatever way."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def standing(study: optuna.Study) -> Standing:
    """Return the study's progress over all workers."""
    trials = retry_while_unavailable(lambda: study.get_trials(deepcopy=False))
    states = Counter(trial.state for trial in trials)
    known = {t.number: t.user_attrs["predicted_seconds"] for t in trials if "predicted_seconds" in t.user_attrs}
    of_kind: dict[Any, list[float]] = {}
    for trial in trials:
        if trial.number in known:
            of_kind.setdefault(planned_kind(trial), []).append(known[trial.number])
    usual = fmean(known.values()) if known else 1.0
    means = {kind: fmean(seconds) for kind, seconds in of_kind.items()}
    work = [known.get(trial.number, means.get(planned_kind(trial), usual)) for trial in trials]
    done = sum(seconds for trial, seconds in zip(trials, work, strict=True) if trial.state.is_finished())
    return Standing(
        finished=sum(trial.state.is_finished() for trial in trials),
        running=states[TrialState.RUNNING],
        pruned=states[TrialState.PRUNED],
        best=max((trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE), default=None),
        work_done=done,
        work_left=sum(work) - done,
        predicted=bool(known),
    )
