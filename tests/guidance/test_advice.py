"""The four scenarios of the article's table."""

import pytest

from harness.core.spec import StudySpec
from harness.guidance.advice import RECIPES, advise
from harness.guidance.profile import Profile

SPACE = StudySpec.load("mnist")[0].search


@pytest.mark.parametrize(
    ("n_images", "similar", "scenario", "kind"),
    [
        (99_999, True, 1, "feature_extraction"),
        (99_999, False, 2, "freeze_first_k"),
        (100_000, False, 3, "from_scratch"),
        (100_000, True, 4, "fine_tune_all"),
    ],
)
def test_size_and_similarity_decide(n_images: int, similar: bool, scenario: int, kind: str) -> None:
    advice = advise(Profile(n_images, (1, 2), similar, "a source"), large_at=100_000, space=SPACE)
    assert (advice.scenario, advice.strategy.kind) == (scenario, kind)
    assert f"{n_images:,}" in advice.reason and "a source" in advice.reason and kind in advice.reason


def test_a_study_sets_the_boundary() -> None:
    profile = Profile(60_000, (1, 2), False, "")
    assert advise(profile, large_at=100_000, space=SPACE).scenario == 2  # the article calls 60,000 MNIST images small
    assert advise(profile, large_at=60_000, space=SPACE).scenario == 3


def test_recipes_are_those_of_the_article() -> None:
    extractor, partial = RECIPES["recipe_extractor"], RECIPES["recipe_partial"]
    assert (extractor.kind, extractor.head, extractor.optimizer) == ("feature_extraction", (1000, 500, 150), "adam")
    assert (partial.frozen, partial.optimizer, partial.learning_rate) == (5, "sgd", 1e-3)
