"""Similarity and layer scores from the network."""

import keras
import pytest

from harness.guidance import measure
from tests.helpers.tiny import tiny_weights


def test_the_reference_is_float32_under_any_policy_and_keeps_the_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "load_weights", lambda *_: tiny_weights())
    measure.reference_backbone.cache_clear()
    keras.config.set_dtype_policy("mixed_bfloat16")
    backbone = measure.reference_backbone(None)
    measure.reference_backbone.cache_clear()
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in backbone.layers} == {"float32"} and backbone.dtype == "float32"
