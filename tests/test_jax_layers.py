"""JAX's layers of ours against its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

jax = pytest.importorskip("jax")

from harness.jax_layers import max_pool, relu  # noqa: E402


@settings(deadline=None)  # JAX compiles each shape
@given(seed=st.integers(0, 2**31), height=st.integers(1, 3), width=st.integers(1, 3))
def test_max_pool_is_jaxs_own_with_ties_too(seed: int, height: int, width: int) -> None:
    draws = np.random.default_rng(seed)
    maps = draws.integers(-2, 3, (2, 2 * height, 2 * width, 3)).astype(np.float32)
    upstream = draws.normal(size=(2, height, width, 3)).astype(np.float32)

    def its_own(values: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(values, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    (ours, our_gradient), (own, own_gradient) = (jax.vjp(function, maps) for function in (max_pool, its_own))
    assert (ours == own).all()
    assert (our_gradient(upstream)[0] == own_gradient(upstream)[0]).all()


def test_relu_is_jaxs_own() -> None:
    values = np.linspace(-1, 1, 11, dtype=np.float32)
    (ours, our_gradient), (own, own_gradient) = (jax.vjp(function, values) for function in (relu, jax.nn.relu))
    assert (ours == own).all()
    assert (our_gradient(values)[0] == own_gradient(values)[0]).all()
