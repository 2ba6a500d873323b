"""ReLU and max-pooling for JAX, whose gradients need no more than the outputs, which the next layer keeps anyway.

JAX's own ReLU keeps a mask beside its output, which bars cuDNN from taking it up into the convolution before; the
gradient of its pool visits the windows one after the other. On a GPU the two were a third of a training step of VGG16
at 224x224 (docs/benchmarks.md).
"""

from typing import Any

import jax
from jax import numpy as jnp


@jax.custom_vjp
def relu(values: Any) -> Any:
    """The positive part."""
    return jnp.maximum(values, 0)


def _relu(values: Any) -> tuple[Any, Any]:
    positive = relu(values)
    return positive, positive


def _relu_gradient(positive: Any, upstream: Any) -> tuple[Any]:
    return (jnp.where(positive > 0, upstream, 0),)


relu.defvjp(_relu, _relu_gradient)


@jax.custom_vjp
def max_pool(maps: Any) -> Any:
    """Maxima of 2x2 windows of ``maps`` (n, height, width, channels), both sides even. The gradient goes to the first
    of equal ones."""
    return _windows(maps).max(axis=(2, 4))


def _max_pool(maps: Any) -> tuple[Any, tuple[Any, Any]]:
    maxima = max_pool(maps)
    return maxima, (maps, maxima)


def _max_pool_gradient(kept: tuple[Any, Any], upstream: Any) -> tuple[Any]:
    maps, maxima = kept
    found = jnp.zeros(maxima.shape, bool)
    rows = []
    for i in range(2):
        row = []
        for j in range(2):
            is_maximum = _windows(maps)[:, :, i, :, j] == maxima
            row.append(jnp.where(is_maximum & ~found, upstream, 0))
            found |= is_maximum
        rows.append(jnp.stack(row, axis=3))
    return (jnp.stack(rows, axis=2).reshape(maps.shape),)


max_pool.defvjp(_max_pool, _max_pool_gradient)


def _windows(maps: Any) -> Any:
    n, height, width, channels = maps.shape
    return maps.reshape(n, height // 2, 2, width // 2, 2, channels)
