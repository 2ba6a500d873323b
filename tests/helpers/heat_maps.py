"""Heat maps of the tiny network, whose weights are the same on every backend.

python -m tests.helpers.heat_maps STUDY FILE
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split
from harness.review.heat_maps import grad_cam
from tests.helpers.tiny import tiny_problem

SIZE = 96  # the last maps are of three by three places


def heat_maps(study: Path, cache: Path) -> NDArray[np.float32]:
    """Return maps (networks, images, 3, 3) for images of all classes, of two networks on stored activations of
    different stages and one on images."""
    spec, dataset = StudySpec.load(str(study))
    problem = tiny_problem(spec, load_split(dataset, spec), cache)
    pixels, labels = (values[:7] for values in (problem.split.validation.pixels, problem.split.validation.labels))
    found = []
    for strategy, start in (
        (Strategy("feature_extraction", 13, "average", (), 0.0, "adam", 1e-3, image_size=SIZE), 13),
        (Strategy("freeze_first_k", 5, "max", (16,), 0.5, "adam", 1e-3, image_size=SIZE), 5),
        (Strategy("fine_tune_all", 0, "flatten", (16, 8), 0.5, "adam", 1e-3, image_size=SIZE), 0),
    ):
        network = problem.networks.for_strategy(strategy, start)
        network.reset(seed=1, dropout=strategy.dropout)
        network.calibrate(problem.backbone.forward(pixels, 0, start, SIZE) if start else pixels)
        found.append(grad_cam(network, problem, pixels, labels))
    return np.stack(found)


if __name__ == "__main__":
    np.save(sys.argv[2], heat_maps(Path(sys.argv[1]), Path(sys.argv[2]).parent / "cache"))
