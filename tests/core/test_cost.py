"""What a study trades accuracy against: how it is declared, and its words."""

from pathlib import Path

import pytest

from harness.core.cost import COSTS, FLOPS, SECONDS, Spent
from harness.core.errors import SpecError
from harness.core.spec import StudySpec
from harness.strategy_search.resume import check_same_problem

TWO = {"search.backbones": ["vgg16", "efficientnet_lite0"]}


def loaded(file: Path, **changes: object) -> StudySpec:
    return StudySpec.load(str(file), changes)[0]


def test_several_backbones_are_compared_in_seconds_and_one_in_flops(study_file: Path) -> None:
    assert loaded(study_file).search.cost_measure is FLOPS
    assert loaded(study_file, **TWO).search.cost_measure is SECONDS
    assert loaded(study_file, **TWO, **{"search.cost": "flops"}).search.cost_measure is FLOPS
    assert loaded(study_file, **{"search.cost": "seconds"}).search.cost_measure is SECONDS


def test_the_resolved_cost_is_stored_with_the_study(study_file: Path) -> None:
    stored = loaded(study_file, **TWO).model_dump(mode="json")
    assert stored["search"]["cost"] == "seconds"
    assert StudySpec.model_validate(stored).search.cost == "seconds"


def test_another_cost_is_refused_with_the_two_there_are(study_file: Path) -> None:
    with pytest.raises(SpecError, match=r"search\.cost = 'euros': Input should be 'flops' or 'seconds'"):
        loaded(study_file, **{"search.cost": "euros"})


def test_a_study_goes_on_with_the_cost_it_was_begun_with(study_file: Path) -> None:
    begun = loaded(study_file, **TWO)
    check_same_problem(begun.model_dump(mode="json"), begun)
    with pytest.raises(SpecError, match=r"search\.cost was 'seconds', now 'flops'"):
        check_same_problem(begun.model_dump(mode="json"), loaded(study_file, **TWO, **{"search.cost": "flops"}))


def test_a_cost_has_its_unit() -> None:
    spent = Spent(train_flops=3.2149e12, rated_seconds=0.012345)
    assert [cost.in_words(cost.of(spent)) for cost in COSTS.values()] == ["3.21 TFLOP", "0.0123 s"]
    words = [SECONDS.in_words(seconds) for seconds in (0.0, 4.0, 9.996, 12.34, 200.0, 7500.0)]
    assert words == ["0 s", "4.00 s", "10.0 s", "12.3 s", "3 min 20 s", "2 h 05 min"]
