"""Which images are wrong, from made-up predictions."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from harness.analysis.mistakes import Mistakes


def mistakes(n: int = 60, n_classes: int = 3, n_models: int = 4, seed: int = 0) -> Mistakes:
    draws = np.random.default_rng(seed)
    true, predicted = draws.integers(n_classes, size=(2, n))
    wrong_in = np.where(true != predicted, draws.integers(1, n_models + 1, n), draws.integers(n_models, size=n))
    classes, files = tuple(f"c{label}" for label in range(n_classes)), tuple(map(str, range(n)))
    return Mistakes("trial 1", classes, "validation", files, true, predicted, draws.random(n), wrong_in, n_models)


def test_counts_are_those_of_scikit_learn() -> None:
    given = mistakes()
    assert (given.counts() == confusion_matrix(given.true, given.predicted)).all()
    assert 1 - given.wrong.mean() == accuracy_score(given.true, given.predicted)


def test_the_order_of_the_galleries() -> None:
    given = mistakes()
    surest = given.most_confident(10)
    assert given.wrong[surest].all() and (np.diff(given.probability[surest]) <= 0).all()
    assert given.probability[surest[0]] == given.probability[given.wrong].max()
    hardest = given.hardest(1000)
    assert (np.diff(given.wrong_in[hardest]) <= 0).all() and set(hardest) == set(np.flatnonzero(given.wrong_in >= 2))
    assert len(mistakes(n_models=1).hardest(10)) == 0  # one trial says nothing of an image


@pytest.mark.parametrize("most", [5, 40, 1000])
def test_cells_show_mistakes_first_and_are_bounded(most: int) -> None:
    given = mistakes(600)
    shown = given.of_cells(each=7, most=most)
    assert len(shown) == min(most, 9 * 7) == len(set(shown.tolist()))
    assert given.wrong[shown[: min(most, 6 * 7)]].all()
    assert np.bincount(given.true[shown] * 3 + given.predicted[shown]).max() <= 7
