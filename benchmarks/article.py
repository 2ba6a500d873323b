"""Run the article's two MNIST recipes to the letter, in plain Keras, on the images of studies/article_mnist.toml.

    python -m benchmarks.article [--image-size 224] [--train-size 34300 --validation-size 14700]

The training of the harness is not used. As in the article's listings there are sigmoid layers and constant rates, the
input of the head is not scaled, and the second recipe has no preprocessing. fc1 and fc2 of VGG16 are not available and
therefore random. The splits are the article's (70/30 and 80/20, seed 42), of the study's training and validation
images; the held-out test set stays sealed. Writes accuracy with its 95 % interval, log loss and seconds to
benchmarks/results/article.json.
"""

import argparse
import time
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from benchmarks.record import machine, write
from harness.backbones.backbone import Backbone
from harness.backbones.devices import as_numpy
from harness.backbones.preprocessing import resized
from harness.backbones.weights import Weights, load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.data.dataset import join, load_split
from harness.statistics.intervals import wilson_interval

VGG16 = BackboneSpec.load("vgg16")

SEED = 42


def extractor(pixels: NDArray[np.uint8], labels: NDArray[np.int64], weights: Weights, size: int) -> dict[str, Any]:
    """Train recipe A: a head on the flattened features of the frozen network. Its dropouts are never added."""
    backbone = Backbone.of(VGG16, weights)
    backbone.load(pretrained=True, seed=0)
    features = []
    for first in range(0, len(pixels), 128):
        values = backbone.prepare(size)(pixels[first : first + 128])
        for stage in backbone.stages:
            values = stage(values)
        features.append(as_numpy(values).reshape(len(values), -1))
    train, test, train_labels, test_labels = train_test_split(
        np.concatenate(features), labels, test_size=0.3, random_state=SEED
    )
    model = keras.Sequential([
        layers.Dense(1000, "relu", kernel_initializer="uniform"),
        layers.Dense(500, "sigmoid"),
        layers.Dense(150, "sigmoid"),
        layers.Dense(10, "softmax"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(train, train_labels, epochs=20, batch_size=128, verbose=0)
    return _measured(model, test, test_labels)


def partial(pixels: NDArray[np.uint8], labels: NDArray[np.int64], weights: Weights, size: int) -> dict[str, Any]:
    """Train recipe B: VGG16 with top, the first 8 Keras layers (5 convolutions) frozen, images not preprocessed."""
    train, test, train_labels, test_labels = train_test_split(pixels, labels, test_size=0.2, random_state=SEED)
    model = keras.applications.VGG16(weights=None, input_shape=(size, size, 3), classes=10)
    for layer in model.layers:
        if layer.name in weights.tensors:
            layer.set_weights(weights.tensors[layer.name])
    for layer in model.layers[:8]:
        layer.trainable = False
    rate = keras.optimizers.schedules.InverseTimeDecay(1e-3, 1, 1e-6)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), "sparse_categorical_crossentropy")
    train, test = (as_numpy(resized(part, size)) for part in (train, test))
    model.fit(train, train_labels, epochs=10, batch_size=16, verbose=0)
    return _measured(model, test, test_labels)


def _measured(model: keras.Model, inputs: NDArray[Any], labels: NDArray[np.int64]) -> dict[str, Any]:
    probabilities = model.predict(inputs, verbose=0)
    right = int((probabilities.argmax(axis=1) == labels).sum())
    low, high = wilson_interval(right, len(labels))
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-15)).mean()
    return {"accuracy": right / len(labels), "interval": [low, high], "n": len(labels), "log_loss": float(loss)}


def main() -> None:
    """Run both recipes and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("image-size", "train-size", "validation-size"):
        parser.add_argument(f"--{name}", type=int, metavar="N")
    given = {f"data.{name}": value for name, value in vars(parser.parse_args()).items() if value is not None}
    spec, dataset = StudySpec.load("article_mnist", given)
    split = load_split(dataset, spec)
    images = join(split.train, split.validation)
    weights = load_weights(VGG16)
    result: dict[str, Any] = {"machine": machine(), "images": len(images), "image_size": spec.search.image_size[0]}
    for name, recipe in (("extractor", extractor), ("partial", partial)):
        keras.utils.set_random_seed(SEED)
        start = time.perf_counter()
        found = recipe(images.pixels, images.labels, weights, spec.search.image_size[0])
        result[name] = found | {"seconds": time.perf_counter() - start}
        print(
            f"{name}: accuracy {found['accuracy']:.4f}, 95 % interval {found['interval'][0]:.3f} to "
            f"{found['interval'][1]:.3f} on {found['n']} images, log loss {found['log_loss']:.3f}, "
            f"{result[name]['seconds']:.0f} s"
        )
    write("article", result)


if __name__ == "__main__":
    main()
