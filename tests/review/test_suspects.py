"""Label suspects and outliers, on features whose classes are known."""

import numpy as np
import pytest

from harness.review.searched_images import SearchedImages
from harness.review.suspects import _folds, label_suspects, outlier_distances


def images(n: int = 200, n_classes: int = 4, wrong: object = (), sets: object = None, seed: int = 0) -> SearchedImages:
    draws = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    features = draws.normal(size=(n, 16)) + 3 * draws.normal(size=(n_classes, 16))[labels]
    labels[list(wrong)] = (labels[list(wrong)] + 1) % n_classes
    return SearchedImages(
        np.arange(n),
        labels,
        features.astype(np.float32),
        np.arange(n) if sets is None else np.asarray(sets),
        n * 4 // 5,
    )


def test_planted_labels_are_found_in_the_training_set_too() -> None:
    wrong = [3, 50, 101, 150, 199]
    known, found = label_suspects(images(wrong=wrong), 4)
    assert len(known) == 200 and set(found.ranked()[:5]) == set(wrong)
    assert (found.suggested[wrong] == np.array(wrong) % 4).all()
    assert found.suspect[wrong].all() and found.suspect.sum() < 12


def test_a_copy_is_no_evidence() -> None:
    """Two copies of an image with the same wrong label: each would speak for the other."""
    given = images(wrong=[0, 4])
    given.features[4] = given.features[0]
    together = SearchedImages(given.rows, given.labels, given.features, np.r_[0:4, 0, 5:200], given.n_train)
    assert set(label_suspects(together, 4)[1].ranked()[:2]) == {0, 4}
    folds = _folds(together.labels, together.sets)
    assert all(fold[0] == fold[4] for fold in folds) and sum(folds).tolist() == [1] * 200


@pytest.mark.parametrize("sets", [None, np.zeros(41)])
def test_a_class_of_one_image_or_set_is_not_judged(sets: object) -> None:
    given = images(41, 4)
    given.labels[:] = np.r_[np.arange(40) % 3, 3]
    one = SearchedImages(given.rows, given.labels, given.features, given.sets if sets is None else sets, 30)
    known, found = label_suspects(one, 4)
    assert known.tolist() == ([] if sets is not None else list(range(40)))
    assert len(found.suspect) == len(known) and np.isfinite(found.wrong_share)


def test_an_image_unlike_all_others_is_far_from_them() -> None:
    given = images()
    given.features[[7, 190]] += 40
    far = outlier_distances(given)
    assert set(np.argsort(-far)[:2]) == {7, 190} and np.isclose(np.median(far), 1)
