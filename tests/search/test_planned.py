"""The storage that caches waiting Optuna trials."""

import tempfile
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from harness.core.strategy import Strategy
from harness.search.optuna_study import close_trial, open_study, recover, set_state
from harness.search.planned import PlannedStorage
from harness.storage.heartbeat import Watch
from harness.storage.store import Store
from harness.storage.trials import TrialStart

NAME = "planned"
TRIED = Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32)


def planned(folder: Path, n: int) -> tuple[Store, optuna.Study]:
    """Create a study of ``n`` waiting trials."""
    store = Store(f"sqlite:///{folder}/study.db")
    store.studies.create(NAME, spec={"metric": "accuracy"}, data={}, advice={})
    study = open_study(store, NAME)
    more(store, study, n)
    return store, study


def more(store: Store, study: optuna.Study, n: int) -> None:
    for _ in range(n):
        study.enqueue_trial({"rate": 0.5}, user_attrs={"origin": "quota"})
    store.tickets.add(NAME, (trial.number for trial in study.get_trials()))


def session(store: Store, pid: int) -> int:
    """Create a session of a dead process."""
    return store.sessions.begin(
        NAME, command="", spec={}, environment={"commit": "", "device": ""}, host="here", pid=pid, process_started=0.0
    )  # fmt: skip


@settings(max_examples=12)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["plan", "claim", "finish", "give back", "lose"]), st.booleans()), min_size=6
    )
)
def test_two_processes_see_the_trials_in_the_database(steps: list[tuple[str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, first = planned(Path(folder), 3)
        studies = first, open_study(store, NAME)
        sessions = [session(store, 1), session(store, 2)]
        held: list[int | None] = [None, None]
        tables = store.optuna_storage()
        for step, second in steps:
            study, mine = studies[second], sessions[second]
            study.get_trials()  # as a worker does before its first trial
            if step == "plan":
                more(store, study, 2)
            elif (
                step == "claim"
                and held[second] is None
                and (ticket := store.tickets.claim(NAME, mine, 1000)) is not None
            ):
                held[second] = ticket.number
                trial = optuna.Trial(study, set_state(study, ticket.number, TrialState.RUNNING))
                trial.suggest_float("rate", 0, 1)
                store.trials.begin(
                    NAME, ticket.number, TrialStart(TRIED, "quota", seed=0, planned_flops=1.0), session=mine
                )
            elif (number := held[second]) is not None and step != "claim":
                held[second] = None
                if step == "finish":
                    close_trial(study, number, "complete", "", 0.5, 1e9)
                elif step == "give back":
                    store.tickets.give_back(NAME, number, session=mine)
                    set_state(study, number, TrialState.WAITING)
                else:  # the other process recovers it
                    lost = _Lost(store, mine)
                    assert recover(studies[not second], store, lost) == 1
                    sessions[second] = session(store, 3)
            stored = seen(tables.get_all_trials(study._study_id))
            assert seen(studies[0].get_trials()) == seen(studies[1].get_trials()) == stored


def test_a_lost_trial_that_was_not_seen_running_waits_again(tmp_path: Path) -> None:
    store, study = planned(tmp_path, 2)
    another, dead = open_study(store, NAME), session(store, 1)
    another.get_trials()
    store.tickets.claim(NAME, dead, 2)
    set_state(study, 0, TrialState.RUNNING)
    assert recover(another, store, _Lost(store, dead)) == 1
    stored = store.optuna_storage().get_all_trials(study._study_id)
    assert [trial.state for trial in stored] == [TrialState.WAITING] * 2


class _Lost(Watch):
    """A watch that reports a given session as dead."""

    def __init__(self, store: Store, dead: int) -> None:
        super().__init__(store, NAME)
        self._dead = dead

    def dead(self) -> list[int]:
        return [self._dead]


def seen(trials: list[FrozenTrial]) -> list[object]:
    """Return trials in full, but waiting ones without the parameters of an earlier run."""
    return [
        (trial.number, trial.state) if trial.state == TrialState.WAITING else (trial, trial.user_attrs["origin"])
        for trial in trials
    ]


def test_only_trials_that_may_have_changed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, study = planned(tmp_path, 20)
    read: list[list[int]] = []
    real = RDBStorage._get_trials

    def reading(*given: object, **named: object) -> list[FrozenTrial]:
        found = real(*given, **named)  # type: ignore[arg-type]
        read.append([trial.number for trial in found])
        return found

    monkeypatch.setattr(RDBStorage, "_get_trials", reading)
    another = open_study(store, NAME)
    assert isinstance(another._storage, PlannedStorage)
    mine = session(store, 1)
    another.get_trials()
    another.get_trials()
    assert read == [list(range(20)), []]
    store.tickets.claim(NAME, mine, 20)
    set_state(study, 0, TrialState.RUNNING)
    another.get_trials()
    close_trial(study, 0, "pruned", "hopeless", None, 1e9)
    assert another.get_trials()[0].state == TrialState.PRUNED
    another.get_trials()
    assert read[2:] == [[0], [0], []]
    study.enqueue_trial({}, user_attrs={"origin": "quota"})
    assert len(another.get_trials()) == 21
    assert read[5:] == [[20]]
    store.tickets.add(NAME, [20])  # a trial without a ticket may have any owner
    with another._storage.read_once(another._study_id):
        another.get_trials()
        assert len(another.get_trials(states=[TrialState.WAITING])) == 20
    assert read[6:] == [[]]
    another.get_trials()
    assert read[7:] == [[]]
