"""VGG16 in small: the same 13 convolutions, pools and names, a few channels each, random weights."""

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from harness.backbones.backbone import Backbone
from harness.backbones.describe import build, describe
from harness.backbones.devices import as_numpy
from harness.backbones.preprocessing import CHANNELS_LAST
from harness.backbones.weights import Weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.core.toml_files import shipped
from harness.data.dataset import Split
from harness.training.fit import Steps, steps
from harness.training.networks import Networks
from harness.training.problem import Problem

VGG16 = BackboneSpec.load("vgg16")
OTHERS = [
    pytest.param(BackboneSpec.load(name), marks=pytest.mark.large) for name in shipped("backbones") if name != "vgg16"
]
"""The other shipped backbones, as parameters of a test, marked large: the small network has their kinds of layers."""
WIDTHS = (4, 4, 6, 6, 8)
CONVS = (2, 2, 3, 3, 3)


def tiny_model() -> keras.Model:
    """The layers of ``keras.applications.VGG16`` with `WIDTHS` channels a block."""
    inputs = keras.Input((None, None, 3))
    values = inputs
    for block, (width, convs) in enumerate(zip(WIDTHS, CONVS, strict=True), start=1):
        for conv in range(1, convs + 1):
            layer = keras.layers.Conv2D(
                width, 3, padding="same", activation="relu", name=f"block{block}_conv{conv}", data_format=CHANNELS_LAST
            )
            values = layer(values)
        values = keras.layers.MaxPooling2D(2, name=f"block{block}_pool", data_format=CHANNELS_LAST)(values)
    return keras.Model(inputs, values)


def tiny_weights() -> Weights:
    """Random tensors for `tiny_model`, always the same, of a size that keeps signals alive through 13 layers."""
    draws = np.random.default_rng(3)
    tensors = {}
    before = 3
    for block, (width, convs) in enumerate(zip(WIDTHS, CONVS, strict=True), start=1):
        for conv in range(1, convs + 1):
            limit = np.sqrt(6 / (9 * before)) / (50 if block == conv == 1 else 1)
            kernel = draws.uniform(-limit, limit, (3, 3, before, width)).astype(np.float32)
            tensors[f"block{block}_conv{conv}"] = kernel, np.full(width, 0.1, np.float32)
            before = width
    digest = hashlib.sha256(b"".join(kernel.tobytes() for kernel, _ in tensors.values())).hexdigest()
    return Weights(tensors=tensors, source="tests", notes=(), digest=digest)


def tiny_backbone() -> Backbone:
    """`tiny_model` with `tiny_weights`."""
    model = tiny_model()
    return Backbone(model, VGG16, describe(model, VGG16), tiny_weights())


def untrained(spec: BackboneSpec) -> Backbone:
    """A backbone with what Keras begins with instead of ImageNet's weights, always the same: some draws leave a small
    network dead."""
    keras.utils.set_random_seed(0)
    layers = build(spec).layers
    tensors = {layer.name: tuple(map(as_numpy, layer.weights)) for layer in layers if layer.weights}
    return Backbone.of(spec, Weights(tensors=tensors, source="tests", notes=(), digest=spec.name))


def tiny_problem(spec: StudySpec, split: Split, cache: Path) -> Problem:
    """The study on the tiny network for images of 32x32, with activations kept in ``cache``. The network is compiled
    once for all tests of a process that take it, as for the trials of one study: each of them sets it back."""
    backbone, networks, compiled = _shared(split.n_classes)
    return replace(Problem.on(backbone, spec, split, cache), networks=networks, steps=compiled)


@functools.cache
def _shared(n_classes: int) -> tuple[Backbone, Networks, Steps]:
    backbone = tiny_backbone()
    compiled = steps()
    if keras.backend.backend() == "tensorflow":  # the tiny network's graphs are small: keep those of all tests
        compiled._graph = functools.cache(compiled._trace)  # type: ignore[attr-defined]
    return backbone, Networks(backbone, n_classes), compiled
