"""The stubbed searches that are measured run as the harness does."""

from pathlib import Path

import optuna
import pytest

from benchmarks import scaling, workers
from harness.storage.store import Store
from harness.strategy_search import worker


def test_a_stubbed_search_is_shown_to_optuna_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "run_trial", worker.run_trial)  # which it replaces
    clock = scaling.Clock()
    scaling.search_and_page(12, tmp_path, clock)
    assert set(clock.seconds) == set(clock.processor) == {"search", "mirror", "page"}
    store = Store(f"sqlite:///{tmp_path}/study.db")
    assert store.trials.frame("mnist")["status"].isin(["complete", "pruned"]).all()
    study = optuna.load_study(study_name="mnist", storage=store.optuna_storage())
    assert len(study.get_trials()) == 12
    assert (tmp_path / "page.html").exists()


def test_what_the_stub_waits_for_is_counted() -> None:
    spec, _ = scaling.StudySpec.load("mnist")
    waiting = workers.Waiting(spec, 0.003)
    result = waiting.run_trial(workers.ADVICE.strategy, None, seed=1, on_checkpoint=lambda _: None)
    assert waiting.waited >= 0.003 and len(result.curve) == workers.EPOCHS
