"""Heat maps of what a trial's network looks at: Grad-CAM (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from harness.analysis.mistakes import Mistakes
from harness.backbones.batches import batches
from harness.backbones.devices import as_numpy, images_at_once
from harness.backbones.weights import load_all
from harness.core.errors import HarnessError
from harness.core.paths import user_cache
from harness.core.strategy import Strategy
from harness.review.contents import GALLERY
from harness.review.study_images import Image
from harness.storage.store import Store
from harness.training.networks import Network
from harness.training.problem import Problem
from harness.training.trial import run_trial


def heat_maps(
    mistakes: Mistakes, store: Store, study: Problem, weights: Mapping[str, Path], note: Callable[[str], None]
) -> dict[Image, NDArray[np.float32]]:
    """Return for each of the most confident mistakes of a trial what speaks for the predicted class there: see
    `grad_cam`.

    Args:
        mistakes: Those of a trial, for the validation set.
        store: The database.
        study: The study on one of its backbones.
        weights: Given files by backbone.
        note: Called with a line before the trial is trained again.

    Raises:
        HarnessError: see `trained_again`.
    """
    shown = mistakes.most_confident(GALLERY)
    if len(shown) == 0:
        return {}
    number = int(mistakes.name.removeprefix("trial "))
    trials = store.trials.frame(study.spec.name)
    (row,) = trials[trials["number"] == number].to_dict("records")
    strategy, problem = Strategy.from_row(row), study
    if strategy.backbone != study.backbone.spec.name:
        declared = study.spec.search.backbone(strategy.backbone)
        found = load_all([declared], weights)[declared.name]
        problem = Problem.of(declared, study.spec, study.split, found, user_cache() / "features")
    note(f"trial {number}, {strategy.label()}: training it again for the heat maps")
    network = trained_again(strategy, row["seed"], problem)
    pixels = np.asarray(problem.split.validation.pixels[shown])
    maps = grad_cam(network, problem, pixels, mistakes.predicted[shown])
    return {(mistakes.part, at): each for at, each in zip(shown.tolist(), maps, strict=True)}


def trained_again(strategy: Strategy, seed: int, problem: Problem) -> Network:
    """Train ``strategy`` as the search did, with the trial's ``seed``: a search stores no weights.

    Raises HarnessError where the training does not end as complete.
    """
    last = problem.spec.budget.epochs_of(strategy)
    result = run_trial(strategy, problem, seed=seed, on_checkpoint=lambda _: None, first_look=last)
    if result.status != "complete":
        raise HarnessError(f"training {strategy.label()} again ended as {result.status} ({result.reason})")
    phase = strategy.phases(problem.n_stages)[-1]
    return problem.networks.for_strategy(phase, problem.start(phase))


def grad_cam(
    network: Network, problem: Problem, pixels: NDArray[np.uint8], classes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return for each of the raw images (n, height, width[, 3]) how much each place speaks for its class in
    ``classes`` (n,): (n, h, w) from 0 to 1, of the size of the last stage's output."""
    backbone, size = problem.backbone, network.image_size
    if network.load_backbone is None:  # trained on stored activations, whatever the backbone holds
        backbone.load(pretrained=True, seed=0)
    maps = []
    for rows, weights in batches(len(pixels), images_at_once(size)):
        values = np.asarray(as_numpy(backbone.forward(pixels[rows], 0, problem.n_stages, size)), np.float32)
        slopes = _slopes(network, values, classes[rows])
        # Each channel counts as much as the class's logit rises with it on average.
        found = np.maximum((values * slopes.mean(axis=(1, 2), keepdims=True)).sum(axis=3), 0)
        maps.append(found[weights > 0] / np.maximum(found[weights > 0].max(axis=(1, 2), keepdims=True), 1e-9))
    return np.concatenate(maps)


def _slopes(network: Network, values: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the gradient of the classes' logits with respect to ``values``, the input of the head."""
    chosen = np.eye(network.head[-1].bias.shape[0], dtype=np.float32)[classes]

    def score(inputs: Any) -> Any:
        for layer in network.head:
            inputs = layer(inputs)
        return keras.ops.sum(inputs * chosen)

    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(score)(jax.numpy.asarray(values)), np.float32)
    import tensorflow as tf

    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = score(inputs)
    return np.asarray(tape.gradient(total, inputs), np.float32)
