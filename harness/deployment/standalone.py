"""A trained network as plain Keras, which loads without the harness: raw RGB in, probabilities out.

Keras's own layers only, no Lambda and no custom class, so that ``safe_mode`` has nothing to forbid. The arithmetic is
that of training, in float32: the same cutting out and resizing, the same centring, the same scale of the head.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness.backbones.backbone import Backbone
from harness.backbones.devices import as_numpy
from harness.backbones.preprocessing import CHANNELS_LAST
from harness.core.backbone import Preprocessing
from harness.deployment.exported_model import MEMBER, Signature
from harness.training.layers import Dropout, Scale
from harness.training.networks import Network

IMAGES, PROBABILITIES = "images", "probabilities"

_LUMA = (0.299, 0.587, 0.114)  # of Pillow: ITU-R 601


def standalone(network: Network, backbone: Backbone, shape: tuple[int, ...], temperature: float = 1.0) -> keras.Model:
    """Build the trained ``network`` on all of ``backbone``, with values of its own.

    Takes ``images`` (n, height, width, 3) uint8 RGB of any size and gives ``probabilities`` (n, classes) float32. They
    become images of ``shape`` (height, width[, 3]) first, as files became those of training: see
    `harness.data.decoding`. The logits are divided by the ``temperature``, which is a part of the last layer's weights.
    """
    height, width, *colours = shape
    size, preprocessing = network.image_size, backbone.spec.preprocessing
    layers: list[keras.layers.Layer] = [
        keras.layers.Resizing(
            height,
            width,
            "bicubic",
            crop_to_aspect_ratio=True,
            antialias=True,
            name="fit",
            dtype="uint8",
            data_format=CHANNELS_LAST,
        ),
        keras.layers.Rescaling(1.0, name="as_float", dtype="float32"),
    ]
    grey = keras.layers.Conv2D(3, 1, use_bias=False, name="grey", dtype="float32", data_format=CHANNELS_LAST)
    layers += [] if colours else [grey]
    layers += [
        keras.layers.Resizing(size, size, antialias=True, name="resize", dtype="float32", data_format=CHANNELS_LAST),
        _centred(preprocessing),
    ]
    images = prepared = keras.Input((None, None, 3), dtype="uint8", name=IMAGES)
    for layer in layers:
        # Keras's resizing trains by default, and so does all that follows it: batches would normalize themselves.
        options = {"training": False} if isinstance(layer, keras.layers.Resizing) else {}
        prepared = layer(prepared, **options)
    if not colours:
        grey.set_weights([np.repeat(np.reshape(_LUMA, (1, 1, 3, 1)), 3, axis=3)])
    values = _copy_of_backbone(network, backbone, images, prepared)
    layers = []
    trained: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
    *head, last = network.head
    for index, layer in enumerate(head):
        if isinstance(layer, Scale):
            layers.append(keras.layers.Rescaling(float(as_numpy(layer.factor)), name="scale", dtype="float32"))
        elif isinstance(layer, Dropout):
            rate = float(as_numpy(layer.rate))
            layers.append(keras.layers.Dropout(rate, name=f"head_{index}_dropout", dtype="float32"))
        else:
            layers.append(_copy(layer, f"head_{index}"))
            trained.append((layer, layers[-1]))
    layers.append(_copy(last, PROBABILITIES, activation="softmax"))
    trained.append((last, layers[-1]))
    for layer in layers:
        values = layer(values)
    for source, target in trained:
        scale = np.float32(temperature if source is last else 1)
        target.set_weights([as_numpy(variable) / scale for variable in source.weights])
    return keras.Model(images, values, name=f"{backbone.spec.name}_transfer")


def _centred(preprocessing: Preprocessing) -> keras.layers.Layer:
    """Return the layer that makes RGB pixels what the network was trained on, but for the order of channels."""
    order = -1 if preprocessing.channels == "bgr" else 1
    mean, scale = preprocessing.mean[::order], preprocessing.scale[::order]
    if len(set(scale)) == 1:
        offset = [-value / scale[0] for value in mean]
        return keras.layers.Rescaling(1 / scale[0], offset, name="centre", dtype="float32")
    # A `Rescaling` by channel depends on Keras's default order of axes.
    variance = [value**2 for value in scale]
    return keras.layers.Normalization(axis=-1, mean=mean, variance=variance, name="centre", dtype="float32")


def _copy_of_backbone(network: Network, backbone: Backbone, images: Any, prepared: Any) -> Any:
    """Apply the layers of the backbone, with the weights that ``network`` was trained with, to ``prepared`` images.

    They become layers of the model that begins with ``images``, and read RGB.
    """
    if network.load_backbone is None:  # trained on stored activations, whatever the backbone holds
        backbone.load(pretrained=True, seed=0)

    def call(layer: keras.layers.Layer, *given: Any, **options: Any) -> Any:
        return layer(*keras.tree.map_structure(lambda value: prepared if value is images else value, given), **options)

    copy = keras.models.clone_model(
        backbone.model, input_tensors=images, clone_function=_copy_of_layer, call_function=call
    )
    for layer in backbone.layers:
        copy.get_layer(layer.name).set_weights([as_numpy(variable) for variable in layer.weights])
    if backbone.spec.preprocessing.channels == "bgr":  # the first kernel is turned here, once for all
        first = copy.get_layer(backbone.layers[0].name)
        kernel, *others = map(as_numpy, first.weights)
        first.set_weights([np.ascontiguousarray(kernel[:, :, ::-1]), *others])
    return copy.output


def _copy_of_layer(layer: Any) -> Any:
    if not isinstance(layer, keras.layers.Layer):  # an operation, such as the sum of two branches
        return layer
    activation = getattr(layer, "activation", None)
    ours = activation is not None and activation.__module__.startswith("harness.")  # on JAX
    return _copy(layer, layer.name, **({"activation": "relu"} if ours else {}))


def _copy(layer: keras.layers.Layer, name: str, **changed: Any) -> keras.layers.Layer:
    config = layer.get_config() | {"name": name, "dtype": "float32", "trainable": True} | changed
    return type(layer).from_config(config)


def save_keras(model: keras.Model, file: Path, signature: Signature) -> None:
    """Write ``model`` as a ``.keras`` file for Keras 3.9 and newer, with ``signature`` inside: Keras overlooks what it
    does not know there."""
    model.save(file)
    with zipfile.ZipFile(file) as archive:
        members: dict[str, bytes | str] = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = json.dumps(_without_newer(json.loads(members["config.json"])))
    members[MEMBER] = signature.model_dump_json(indent=2)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _without_newer(value: Any, *, arguments: bool = False) -> Any:
    """Return a Keras config without the ``arguments`` of its layers that are None, which is their default everywhere,
    or `_NEWER`: a Keras that does not know one of them yet (3.12: ``quantization_config``) refuses the whole file."""
    if isinstance(value, list):
        return [_without_newer(item) for item in value]
    if isinstance(value, dict):
        kept = {
            name: item for name, item in value.items() if not (arguments and (item is None or (name, item) in _NEWER))
        }
        return {name: _without_newer(item, arguments=name == "config") for name, item in kept.items()}
    return value


_NEWER = [("renorm", False), ("renorm_momentum", 0.99)]
"""Arguments of a batch normalization that Keras 3.9 does not know, with their default values."""


def save_saved_model(model: keras.Model, folder: Path, signature: Signature) -> None:
    """Write ``model`` as a TensorFlow SavedModel whose signature gives ``class_name``, ``probability`` (of it) and
    ``probabilities``. Keras's TensorFlow backend only."""
    import tensorflow as tf

    names = tf.constant(signature.class_names)

    def serve(images: Any) -> dict[str, Any]:
        probabilities = model(images, training=False)
        best = tf.argmax(probabilities, axis=1)
        return {
            "class_name": tf.gather(names, best),
            "probability": tf.reduce_max(probabilities, axis=1),
            PROBABILITIES: probabilities,
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, [tf.TensorSpec((None, None, None, 3), tf.uint8, name=IMAGES)])
    archive.write_out(str(folder), verbose=False)
