"""One worker: what it does once it has joined a study."""

import pytest

from harness.core.errors import DataError
from harness.storage.store import Store
from harness.strategy_search.plan import plan
from harness.training.problem import Problem
from harness.workers import work
from tests.helpers.searching import ADVICE, trials


def test_layers_that_exceed_memory_get_no_score(
    store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def layer_scores(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(work, "layer_scores", layer_scores)
    work._score_layers(store, tiny_problem)
    assert "layers are not scored: out of memory" in caplog.text


def test_other_images_are_refused(store: Store, tiny_problem: Problem) -> None:
    row = store.studies.find("tiny")
    assert row is not None
    with pytest.raises(DataError, match="are not those that study 'tiny' was begun with"):
        work.check_same_images(row, tiny_problem.split)


def test_the_first_pass_through_the_network_serves_all_planned_trials(
    store: Store, tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(store, trials(tiny_problem.spec, 12), ADVICE)
    monkeypatch.setattr(work, "_score_layers", lambda *_: None)
    monkeypatch.setattr(work, "_run_baselines", lambda *_: None)
    work.run_study_trials({"vgg16": tiny_problem}, store, "test", baselines=True, stop=lambda: True)
    assert tiny_problem.planned == {32: {0, 5, 7, 13}}
