"""What is ours on JAX against its own, on the processor: run by test_backends.py in a process apart, for JAX's threads
and the forks of other tests do not go together."""

import jax
import keras
import numpy as np
import pytest

from harness.backbones.jax_kernels import max_pool, options, relu
from harness.training import jax_step


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3)])  # JAX compiles each shape
def test_max_pool_is_jaxs_own_with_ties_too(height: int, width: int) -> None:
    def its_own(values: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(values, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    for seed in range(8):
        draws = np.random.default_rng(seed)
        maps = draws.integers(-2, 3, (2, 2 * height, 2 * width, 3)).astype(np.float32)
        upstream = draws.normal(size=(2, height, width, 3)).astype(np.float32)
        (ours, our_gradient), (own, own_gradient) = (jax.vjp(function, maps) for function in (max_pool, its_own))
        assert (ours == own).all()
        assert (our_gradient(upstream)[0] == own_gradient(upstream)[0]).all()


@pytest.mark.parametrize(
    ("n", "piece", "images"),
    # Bytes: all rows in one piece, two rows and a rest, more than a piece in each row, one row.
    [(1, 40, True), (7, 13, True), (5, 1, False), (9, 40, False)],
)
def test_what_is_held_on_a_device_is_what_was_given(n: int, piece: int, images: bool) -> None:
    draws = np.random.default_rng(n)
    inputs = draws.integers(0, 256, (n, 2, 3), np.uint8) if images else draws.normal(size=(n, 2, 3)).astype("f4")
    rows = draws.integers(0, n, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax_step, "_PIECE_BYTES", piece)
        held = jax_step._Held(inputs)
    assert held[rows].dtype == inputs.dtype
    assert (held[rows] == inputs[rows]).all()


def test_kernels_are_tried_for_convolutions_only() -> None:
    dense, conv = keras.layers.Dense(2), keras.layers.Conv2D(2, 3)
    dense.build((None, 4))
    conv.build((None, 8, 8, 3))
    assert options([dense]) == {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
    assert options([dense, conv]) is None


def test_relu_is_jaxs_own() -> None:
    values = np.linspace(-1, 1, 11, dtype=np.float32)
    (ours, our_gradient), (own, own_gradient) = (jax.vjp(function, values) for function in (relu, jax.nn.relu))
    assert (ours == own).all()
    assert (our_gradient(values)[0] == own_gradient(values)[0]).all()
