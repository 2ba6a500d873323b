"""One worker: what it does once it has joined a study."""

import pytest

from harness.core.errors import DataError
from harness.storage.store import Store
from harness.training.problem import Problem
from harness.workers import work


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
