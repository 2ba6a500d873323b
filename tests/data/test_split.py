"""Drawing training, validation and test set: whole groups, declared parts, limits."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import DataError
from harness.core.spec import DataSpec
from harness.data.listing import Listing
from harness.data.split import Parts, draw_parts

N = 240


def listing(labels: object, parts: object = "train", groups: object = None) -> Listing:
    labels = np.asarray(labels)
    return Listing(
        "set",
        Path("set.npz"),
        None,
        labels,
        tuple(f"c{i}" for i in range(int(labels.max()) + 1)),
        np.broadcast_to(np.asarray(parts), labels.shape),
        None if groups is None else np.asarray(groups),
    )


def drawn(given: Listing, seed: int = 0, **sizes: int) -> Parts:
    return draw_parts(given, np.arange(len(given)), DataSpec(dataset="set", **sizes), seed)


def sides(parts: Parts) -> list[np.ndarray]:
    return [parts.train, parts.validation, parts.test]


@given(groups=st.integers(40, 80), classes=st.integers(2, 4), seed=st.integers(0, 99), sorted_by_class=st.booleans())
@settings(max_examples=60)
def test_no_group_is_on_two_sides(groups: int, classes: int, seed: int, sorted_by_class: bool) -> None:
    group = np.random.default_rng(seed).integers(0, groups, N)
    labels = group % classes if sorted_by_class else np.arange(N) % classes
    given = listing(labels, groups=group)
    parts = drawn(given, seed)
    of = [set(group[rows]) for rows in sides(parts)]
    assert not of[0] & of[1] and not of[0] & of[2] and not of[1] & of[2]
    assert sorted(np.concatenate(sides(parts))) == list(range(N))
    for rows in sides(parts):
        assert set(labels[rows]) == set(range(classes))
    assert abs(len(parts.test) - N // 5) <= np.bincount(group).max() * classes
    again = drawn(given, seed)
    assert all(np.array_equal(a, b) for a, b in zip(sides(parts), sides(again), strict=True))


def test_a_group_in_two_declared_parts_is_refused() -> None:
    given = listing(np.arange(8) % 2, ["train"] * 6 + ["test"] * 2, [0, 1, 2, 3, 4, 5, 5, 6])
    with pytest.raises(DataError, match=r"'5' and '6' are of one group, but in the train and the test set"):
        drawn(given)


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"the groups of set cannot be split.*class 'c0' has none drawn"):
        drawn(listing(np.arange(N) % 2, groups=np.zeros(N, int)))


def test_declared_parts_are_kept() -> None:
    parts = np.array(["train"] * 160 + ["validation"] * 40 + ["test"] * 40)
    found = drawn(listing(np.arange(N) % 4, parts))
    assert [sorted(rows) for rows in sides(found)] == [
        list(range(160)), list(range(160, 200)), list(range(200, 240)),
    ]  # fmt: skip
    smaller = drawn(listing(np.arange(N) % 4, parts), train_size=40, validation_size=20, test_size=8)
    assert [len(rows) for rows in sides(smaller)] == [40, 20, 8]
    assert smaller.validation.min() >= 160 and smaller.validation.max() < 200 and smaller.test.min() >= 200


def test_with_a_declared_validation_set_the_test_set_is_drawn_from_training() -> None:
    found = drawn(listing(np.arange(N) % 4, ["train"] * 200 + ["validation"] * 40))
    assert len(found.test) == 40 and found.test.max() < 200 and len(found.train) == 160
    assert set(found.validation) == set(range(200, 240))


@pytest.mark.parametrize("parts", ["train", ["train"] * 140 + ["validation"] * 100])
def test_max_images_limits_training_plus_validation(parts: object) -> None:
    found = drawn(listing(np.arange(N) % 4, parts), max_images=50)
    assert len(found.validation) == 10 and len(found.train) == 40
    assert np.bincount(np.arange(N)[found.train] % 4).tolist() == [10] * 4
    more = drawn(listing(np.arange(N) % 4, parts), max_images=50, train_size=60)
    assert len(more.train) == 60
    all_of_it = drawn(listing(np.arange(N) % 4), max_images=5000)
    assert sum(map(len, sides(all_of_it))) == N


def test_unreadable_rows_are_in_no_part() -> None:
    readable = np.arange(0, N, 2)
    parts = draw_parts(listing(np.arange(N) // 2 % 3), readable, DataSpec(dataset="set"), 0)
    assert sorted(np.concatenate(sides(parts))) == readable.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (listing([0] * 20 + [1]), "(the smallest, 'c1', has 1 there): give each class one image for each part"),
        (listing(np.arange(20) % 2, "test"), "set has no training image that can be read"),
    ],
)
def test_data_that_cannot_be_split_is_refused(given: Listing, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        drawn(given)
