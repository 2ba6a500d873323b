"""Continuing a study: what may change and what may not."""

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import SpecError
from harness.core.spec import StudySpec
from harness.storage.store import Store
from harness.strategy_search.resume import check_same_problem, resolve_precision


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data.train_size": 90}, ["data.train_size was 96, now 90"]),
        (
            {"search.dropout": [0.0, 0.9], "seed": 4},
            ["search.dropout was [0.0, 0.6], now [0.0, 0.9]", "seed was 0, now 4"],
        ),
        ({"budget.epochs": 7}, ["budget.epochs was 2, now 7"]),
        (
            {"metric": "macro_f1", "class_weights": True},
            ["metric was 'accuracy', now 'macro_f1'", "class_weights was False, now True"],
        ),
    ],
)
def test_a_changed_problem_is_refused_key_by_key(study_file: Path, changes: dict[str, Any], named: list[str]) -> None:
    before = StudySpec.load(str(study_file))[0].model_dump(mode="json")
    with pytest.raises(SpecError) as refused:
        check_same_problem(before, StudySpec.load(str(study_file), changes)[0])
    assert all(words in str(refused.value) for words in named) and "--fresh" in str(refused.value)


def test_settings_that_keep_results_comparable_may_change(study_file: Path) -> None:
    before = StudySpec.load(str(study_file))[0].model_dump(mode="json")
    changes = {"budget.trials": 90, "budget.time_limit": 3.0, "pruning.margin": 0.1, "budget.max_trial_cost": 2.0}
    check_same_problem(before, StudySpec.load(str(study_file), changes)[0])


def test_a_study_stored_without_a_metric_uses_accuracy(study_file: Path) -> None:
    before = StudySpec.load(str(study_file))[0].model_dump(mode="json")
    del before["metric"], before["class_weights"]
    check_same_problem(before, StudySpec.load(str(study_file))[0])
    with pytest.raises(SpecError, match="metric was 'accuracy', now 'macro_f1'"):
        check_same_problem(before, StudySpec.load(str(study_file), {"metric": "macro_f1"})[0])


def test_the_machine_that_creates_a_study_decides_its_precision(store: Store, spec: StudySpec) -> None:
    assert spec.budget.precision == "auto"
    begun = resolve_precision(spec, None, lambda: "bfloat16")
    assert begun.budget.precision == "bfloat16"
    store.studies.create("begun", spec=begun.model_dump(mode="json"), data={}, advice={})
    again = resolve_precision(spec, store.studies.find("begun"), lambda: "float32")
    assert again == begun, "another machine, or another day, takes what the study was begun with"
    asked = spec.model_copy(update={"budget": spec.budget.model_copy(update={"precision": "float32"})})
    assert resolve_precision(asked, store.studies.find("begun"), lambda: "bfloat16") is asked, (
        "what is asked for is not overruled"
    )
