"""What a training step computes, whatever the backend: the loss, and the arithmetic of the optimizers."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from harness.core.strategy import OptimizerName

ADAM = (0.9, 0.999, 1e-7)
"""Decay of the mean gradient and of the mean square, and epsilon: Keras's."""
MOMENTUM = 0.9

Rule = Callable[[Any, Any, Any, Any, Any, Any], tuple[Any, Any, Any]]
"""(gradient, value, momentum, mean square, rate, step from 1) -> the new (value, momentum, mean square)."""


def cross_entropy(logits: Any, labels: Any, weights: Any) -> Any:
    """Return the mean cross-entropy of a batch, in which each image counts as much as ``weights`` (n,) say.

    ``labels`` are classes (n,) or shares of classes (n, classes). An image of weight zero is padding.
    """
    loss = "sparse_categorical_crossentropy" if len(labels.shape) == 1 else "categorical_crossentropy"
    losses = getattr(keras.losses, loss)(labels, logits, from_logits=True)
    rows = ops.sum(ops.cast(weights > 0, losses.dtype))
    return ops.sum(losses * weights) / rows


def adam(gradient: Any, value: Any, momentum: Any, mean_square: Any, rate: Any, step: Any) -> tuple[Any, Any, Any]:
    """Compute a step of Adam (Kingma and Ba 2015) with Keras's constants.

    It is ours since a Keras optimizer owns its slots for one list of variables: one for each freeze depth would hold
    the 14.7 million weights twice over, and TensorFlow would never give them back.
    """
    first, second, epsilon = ADAM
    momentum = first * momentum + (1 - first) * gradient
    mean_square = second * mean_square + (1 - second) * ops.square(gradient)
    corrected = rate * ops.sqrt(1 - ops.power(second, step)) / (1 - ops.power(first, step))
    return value - corrected * momentum / (ops.sqrt(mean_square) + epsilon), momentum, mean_square


def sgd(gradient: Any, value: Any, momentum: Any, mean_square: Any, rate: Any, step: Any) -> tuple[Any, Any, Any]:
    """Compute a step of gradient descent with Nesterov momentum .9, as in the article's second recipe."""
    momentum = MOMENTUM * momentum - rate * gradient
    return value + MOMENTUM * momentum - rate * gradient, momentum, mean_square


def shrunk(value: Any, rate: Any, weight_decay: Any) -> Any:
    """Return a kernel after its decay, which is apart from the gradient's step (Loshchilov and Hutter 2019).

    Other values stay as they are.
    """
    return value * (1 - rate * weight_decay) if len(value.shape) > 1 else value


def cut(gradient: Any, clip_norm: Any) -> Any:
    """Return ``gradient`` with a norm of at most ``clip_norm``, 0 for no limit."""
    norm = ops.sqrt(ops.sum(ops.square(gradient)))
    return gradient * ops.where((clip_norm > 0) & (norm > clip_norm), clip_norm / norm, 1.0)


RULES: dict[OptimizerName, Rule] = {"adam": adam, "sgd": sgd}
