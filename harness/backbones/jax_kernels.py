"""What JAX does better with a little help on a GPU: ReLU, max-pooling, and heads of which hardly one comes twice.

JAX's own ReLU keeps a mask next to its output, which stops cuDNN from fusing it into the convolution before; the
gradient of its pool visits the windows one after the other. Here gradients need no more than the outputs, which the
next layer keeps anyway. The two were a fifth of a training step of VGG16 at 224x224 (docs/notes/gpu.md).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import keras
from jax import numpy as jnp

_NO_AUTOTUNING = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
_MAPS = 4  # dimensions of a convolution's kernel


@jax.custom_vjp
def relu(values: Any) -> Any:
    """Return the positive part."""
    return jnp.maximum(values, 0)


def _relu(values: Any) -> tuple[Any, Any]:
    positive = relu(values)
    return positive, positive


def _relu_gradient(positive: Any, upstream: Any) -> tuple[Any]:
    return (jnp.where(positive > 0, upstream, 0),)


relu.defvjp(_relu, _relu_gradient)


def max_pool_of(default: Callable[[Any], Any], maps: Any) -> Any:
    """Return the maxima of 2x2 windows of ``maps`` by `max_pool`, or by a layer's ``default`` where a side is odd."""
    return max_pool(maps) if all(side % 2 == 0 for side in maps.shape[1:3]) else default(maps)


@jax.custom_vjp
def max_pool(maps: Any) -> Any:
    """Return the maxima of 2x2 windows of ``maps`` (n, height, width, channels), both sides even. The gradient goes to
    the first of equal ones."""
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


def options(layers: Sequence[keras.layers.Layer]) -> dict[str, Any] | None:
    """Return XLA's options for `jax.jit` of ``layers``; None for its defaults.

    For products XLA tries several kernels on each new shape, which takes seconds per layer and saves milliseconds of a
    trial: that is switched off. For convolutions they are tried: the first kernel of cuDNN made the CNN baseline train
    for 154 s, the best for 5.
    """
    shapes = [variable.shape for layer in layers for variable in layer.variables]
    return None if any(len(shape) == _MAPS for shape in shapes) else _NO_AUTOTUNING


def compiled(function: Callable[[Any], Any], layers: Sequence[keras.layers.Layer]) -> Callable[[Any], Any]:
    """Compile ``function``, which calls ``layers`` and changes none of their variables."""
    variables = [variable for layer in layers for variable in layer.variables]

    @partial(jax.jit, compiler_options=options(layers))
    def run(state: Any, values: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, state, strict=True))):
            return function(values)

    return lambda values: run([variable.value for variable in variables], values)


def _windows(maps: Any) -> Any:
    n, height, width, channels = maps.shape
    return maps.reshape(n, height // 2, 2, width // 2, 2, channels)
