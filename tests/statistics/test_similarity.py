"""Distances to ImageNet against slow formulas, their independence of the sample size, and the rank."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.activation_cache import FeatureCache
from harness.backbones.backbone import Backbone
from harness.core.errors import DataError
from harness.core.spec import AdviceSpec, DatasetSpec, DataSpec
from harness.data.dataset import Images, Split, draw
from harness.guidance.measure import averages_by_depth, block5_averages, similarity_of
from harness.guidance.profile import profile
from harness.statistics.similarity import (
    Reference,
    Similarity,
    earth_mover_distance,
    frechet_distance,
    kernel_distance,
    known_sets,
    load_reference,
    rank,
)
from tests.helpers.tiny import tiny_backbone

DRAWS = np.random.default_rng(5)


def features(n: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=(n, 6))) + shift * np.arange(6)


def test_kernel_distance_is_the_unbiased_estimate_over_pairs() -> None:
    own, reference = features(7, 0.2), features(9, seed=1)
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (own, reference))
    scale = np.median([((a - b) ** 2).sum() for i, a in enumerate(y) for b in y[:i]])

    def mean(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2).sum() / scale) for a, b in pairs]))

    slow = mean(list(permutations(x, 2))) + mean(list(permutations(y, 2))) - 2 * mean([(a, b) for a in x for b in y])
    assert kernel_distance(own, reference)[0] == pytest.approx(slow)


def test_its_error_is_the_jackknife_estimate_and_matches_other_samples() -> None:
    own, reference = features(60, 0.1), features(80, seed=1)
    found, error = kernel_distance(own, reference)
    without = np.array([kernel_distance(np.delete(own, i, axis=0), reference)[0] for i in range(60)])
    assert error == pytest.approx(np.sqrt(59 / 60 * ((without - without.mean()) ** 2).sum()))
    others = [kernel_distance(features(60, 0.1, seed), reference)[0] for seed in range(100, 200)]
    assert np.std(others) == pytest.approx(error, rel=0.4)
    assert abs(np.mean(others) - found) < 4 * error


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_it_does_not_depend_on_the_number_of_images(shift: float) -> None:
    reference = features(300, seed=1)
    many = kernel_distance(features(2000, shift, seed=2), reference)[0]
    few = [kernel_distance(features(20, shift, seed), reference)[0] for seed in range(10, 210)]
    assert abs(np.mean(few) - many) < 4 * np.std(few) / np.sqrt(200)


def test_one_bright_image_hardly_changes_it() -> None:
    own, reference = features(50, 0.1), features(80, seed=1)
    before = kernel_distance(own, reference)[0]
    own[0] *= 100
    assert abs(kernel_distance(own, reference)[0] - before) < 0.01


def test_frechet_distance_follows_the_formula_for_gaussians() -> None:
    own, reference = features(30, 0.2), features(40, seed=1)
    one, other = np.cov(own.T), np.cov(reference.T)
    values = np.linalg.eigvals(one @ other)
    slow = ((own.mean(axis=0) - reference.mean(axis=0)) ** 2).sum() + np.trace(one + other)
    slow -= 2 * np.sqrt(np.maximum(values.real, 0)).sum()
    assert frechet_distance(own, reference) == pytest.approx(slow)


@given(st.permutations([0, 1, 2, 3]))
def test_earth_mover_distance_is_the_cost_of_the_best_matching(order: list[int]) -> None:
    own, reference = features(4, 0.5), features(4, seed=1)
    costs = [np.mean([np.linalg.norm(own[i] - reference[j]) for i, j in enumerate(p)]) for p in permutations(range(4))]
    assert earth_mover_distance(own, np.array(order), reference) == pytest.approx(min(costs))


def test_the_boundary_lies_in_the_gap_between_the_measured_sets() -> None:
    known, boundary = known_sets(), AdviceSpec().similar_below
    similar = {name for name, found in known.items() if found.interval[1] < boundary}
    assert similar == {"ants_bees", "cifar10", "clothing", "scene15"}
    assert {name for name, found in known.items() if found.interval[0] > boundary} == known.keys() - similar


def test_rank_finds_the_sets_around_a_distance() -> None:
    names = list(known_sets())
    here = Similarity(distance=0.2, error=0.001, n_images=50, cubic=1.0, frechet=1.0, earth_mover=1.0)
    assert rank(here).startswith(f"rank 5 of 8 (farther than {names[3]} ")
    assert f"nearer than {names[4]} " in rank(here)
    unsure = Similarity(distance=0.2, error=0.2, n_images=3, cubic=1.0, frechet=1.0, earth_mover=1.0)
    assert rank(unsure).startswith("rank 1 to 8 of 8")


def test_the_reference_is_small_and_covers_every_class() -> None:
    reference = load_reference()
    assert reference.features.shape == (1000, 512) and np.isfinite(reference.features).all()
    assert reference.image_size == 96


def noise(n: int) -> Images:
    return Images(DRAWS.integers(0, 255, (n, 20, 20), dtype=np.uint8), np.arange(n) % 3)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


def test_images_of_the_reference_have_distance_zero(
    backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = FeatureCache(tmp_path_factory.mktemp("cache"), backbone, max_bytes=10**9)
    reference = Reference(block5_averages(noise(120), cache, 32), 32, backbone.weights.digest)
    found = similarity_of(noise(60), cache, reference)
    assert found.interval[0] < 0 < found.interval[1] and found.n_images == 60
    bright = Images(noise(60).pixels // 8, np.arange(60) % 3)
    assert similarity_of(bright, cache, reference).distance > 5 * found.error


def test_a_reference_of_another_network_is_refused(
    backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(DataError, match="Declare similar_to_imagenet"):
        similarity_of(noise(30), FeatureCache(tmp_path_factory.mktemp("cache"), backbone, 10**9), load_reference())


def test_pooled_activations_by_depth_end_in_the_cached_ones(
    backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    images = noise(12)
    by_depth = averages_by_depth(images.pixels, backbone, 32)
    assert [found.shape for found in by_depth] == [(12, stage.channels) for stage in backbone.architecture.stages]
    last = block5_averages(images, FeatureCache(tmp_path_factory.mktemp("cache"), backbone, max_bytes=10**9), 32)
    assert np.allclose(by_depth[-1], last, rtol=1e-4, atol=1e-5)


def test_a_sample_of_images_is_reproducible_and_limited(digits: DatasetSpec) -> None:
    drawn = draw(digits, DataSpec(dataset="digits"), 0)
    assert drawn.some(20, 96).digest() == drawn.some(20, 96).digest()
    assert len(drawn.some(20, 96)) == 20
    assert len(drawn.some(5000, 96)) == len(drawn.parts.train)


def test_declared_similarity_is_used_instead_of_measured(digits: DatasetSpec) -> None:
    split = Split(noise(30), noise(9), None, ("a", "b", "c"))  # type: ignore[arg-type]
    declared = profile(split.train.labels, split.n_classes, digits, None, AdviceSpec())
    assert not declared.similar and declared.similarity_source.startswith("declared: ")
    open_ = digits.model_copy(update={"similar_to_imagenet": None})
    near = Similarity(distance=0.1, error=0.001, n_images=30, cubic=1.0, frechet=1.0, earth_mover=1.0)
    measured = profile(split.train.labels, split.n_classes, open_, near, AdviceSpec())
    assert measured.similar and measured.class_sizes == (10, 10, 10)
    assert "measured: kernel distance 0.100" in measured.similarity_source
    assert not profile(split.train.labels, split.n_classes, open_, near, AdviceSpec(similar_below=0.05)).similar


def test_two_images_have_a_distance_without_an_error() -> None:
    distance, error = kernel_distance(features(2), features(9, seed=1))
    assert np.isfinite(distance) and error is None
    known = Similarity(distance, error, 2, 0.0, 0.0, 0.0)
    assert known.interval == (0.0, 2.0)
    assert rank(known).startswith(f"rank 1 to {len(known_sets()) + 1} of")
    dataset = DatasetSpec(name="two", file="two.npz")
    images = Images(np.zeros((2, 4, 4), np.uint8), np.array([0, 1]))
    found = profile(images.labels, 2, dataset, known, AdviceSpec())
    assert "95 % interval 0.000 to 2.000 from 2 images" in found.similarity_source
    assert "the interval includes the boundary" in found.similarity_source
