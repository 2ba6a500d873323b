"""Recording learning curves."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import curves
from harness.core.results import TrialResult
from harness.core.spec import StudySpec


def test_a_recording_is_continued_where_it_stopped(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def run_trial(strategy: object, *_: object, **__: object) -> TrialResult:
        trained.append(strategy)
        return TrialResult("complete", 1e9, 1e9, 0.5)

    monkeypatch.setattr(curves, "_file", lambda name: tmp_path / f"{name}.jsonl")
    monkeypatch.setattr(curves, "run_trial", run_trial)
    problem = cast(Any, SimpleNamespace(split=SimpleNamespace(train=range(96), validation=range(48), n_classes=3)))
    strategies = curves.draw(spec, 3)
    for number in (0, 1):
        curves.Recording(spec, problem, "digits").record(number, strategies[number])
    again = curves.Recording(spec, problem, "digits")
    for number, strategy in enumerate(strategies):
        again.record(number, strategy)
    assert trained == strategies
