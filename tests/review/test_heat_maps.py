"""Grad-CAM: against differences of the logit, and the same on both of Keras's backends."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.core.strategy import Strategy
from harness.review.heat_maps import _slopes, grad_cam
from harness.training.problem import Problem
from tests.conftest import ON_JAX, ROOT
from tests.helpers.heat_maps import heat_maps


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_slopes_are_those_of_the_logit(pooling: str, tiny_problem: Problem) -> None:
    strategy = Strategy("feature_extraction", 13, pooling, (8,), 0.5, "adam", 1e-3, image_size=64)
    network = tiny_problem.networks.for_strategy(strategy, 13)
    network.reset(seed=2, dropout=0.5)
    draws = np.random.default_rng(0)
    values = draws.normal(size=(3, 2, 2, 8)).astype(np.float32)
    network.calibrate(values)
    classes, step = np.array([2, 0, 1]), 1e-2 * draws.normal(size=values.shape).astype(np.float32)
    rise = (network.logits(values + step) - network.logits(values - step))[range(3), classes]
    assert (_slopes(network, values, classes) * 2 * step).sum(axis=(1, 2, 3)) == pytest.approx(rise, rel=2e-2)


def test_a_map_is_warm_where_the_class_is(tiny_problem: Problem) -> None:
    """A head that counts one channel alone: the map is that channel's."""
    strategy = Strategy("feature_extraction", 13, "average", (), 0.0, "adam", 1e-3, image_size=96)
    network = tiny_problem.networks.for_strategy(strategy, 13)
    network.reset(seed=0, dropout=0)
    kernel = np.zeros((8, 3), np.float32)
    kernel[5, 1] = 2
    network.head[-1].kernel.assign(kernel)
    pixels = tiny_problem.split.validation.pixels[:4]
    found = grad_cam(network, tiny_problem, pixels, np.ones(4, np.int64))
    channel = np.asarray(tiny_problem.backbone.forward(pixels, 0, 13, 96))[..., 5]
    assert found == pytest.approx(channel / channel.max(axis=(1, 2), keepdims=True), rel=1e-4)
    assert not grad_cam(network, tiny_problem, pixels, np.zeros(4, np.int64)).any()


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install '.[jax]'")
@pytest.mark.large  # another process that imports JAX and compiles three networks
def test_they_are_the_same_on_jax(study_file: Path, tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.helpers.heat_maps", str(study_file), str(tmp_path / "jax.npy")],
        cwd=ROOT,
        env=os.environ | ON_JAX,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    on_tensorflow, on_jax = heat_maps(study_file, tmp_path / "tensorflow"), np.load(tmp_path / "jax.npy")
    assert on_tensorflow.shape == (3, 7, 3, 3) and on_tensorflow.max(axis=(2, 3)).min() >= 0
    assert (on_tensorflow.max(axis=(2, 3)) > 0.99).mean() > 0.5  # most maps are not empty
    assert on_jax == pytest.approx(on_tensorflow, abs=1e-3)
