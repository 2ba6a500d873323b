"""Drawing training, validation and test set: whole groups, declared parts, limits."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
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
        (
            listing([0] * 20 + [1]),
            "set has too few images to cut a test set from: 21 for 2 classes (the smallest, 'c1',",
        ),
        (listing(np.arange(20) % 2, "test"), "set has no training image that can be read"),
    ],
)
def test_data_that_cannot_be_split_is_refused(given: Listing, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        drawn(given)


@pytest.mark.parametrize("groups", [None, np.arange(102)], ids=["rows", "groups"])
def test_a_rare_class_is_in_every_part(groups: object) -> None:
    given = listing(np.repeat([0, 1, 2], [50, 49, 3]), groups=groups)
    for seed in range(10):
        parts = drawn(given, seed)
        assert [int(np.sum(given.labels[rows] == 2)) for rows in sides(parts)] == [1, 1, 1]
        assert parts.notes(given) == []


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=8),
    shares=st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)),
    grouped=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_class_of_three_or_more_is_in_every_part(
    counts: list[int], shares: tuple[float, float], grouped: bool, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    given = listing(labels, groups=np.arange(len(labels)) if grouped else None)
    test, validation = (max(len(counts), int(share * len(labels))) for share in shares)
    divisible = sum(count > 1 for count in counts)
    assume(test + validation + divisible + len(counts) <= len(labels) and sum(count > 2 for count in counts) > 1)
    parts = drawn(given, seed, test_size=test, validation_size=validation)
    found = [np.bincount(labels[rows], minlength=len(counts)) for rows in sides(parts)]
    assert (found[0] > 0).all() and (np.sum(found, axis=0) == counts).all()
    absent = [label for label, count in enumerate(counts) if min(part[label] for part in found) == 0]
    assert all(counts[label] < 3 for label in absent)
    assert all(any(f"c{label}" in note for note in parts.notes(given)) for label in absent)


def test_a_class_with_one_group_is_left_in_training_and_named() -> None:
    given = listing(np.repeat([0, 1, 2], [40, 40, 20]), groups=[*range(80), *[80] * 20])
    parts = drawn(given)
    assert (given.labels[parts.train] == 2).sum() == 20
    assert parts.notes(given) == [
        f"classes without an image in the {part} set, whose scores say nothing about them: 1 ('c2')"
        for part in ("validation", "test")
    ]


def test_a_smaller_test_set_may_leave_out_fewer_images_than_there_are_classes() -> None:
    given = listing([*[0, 1, 2] * 20, *[0] * 5, 1, 1, 2], ["train"] * 60 + ["test"] * 8)
    parts = drawn(given, test_size=7)
    assert np.bincount(given.labels[parts.test]).tolist() == [4, 2, 1] and parts.test.min() >= 60
    with pytest.raises(DataError, match=r"data.test_size 2 is fewer than the 3 classes of set: ask for 3"):
        drawn(given, test_size=2)
