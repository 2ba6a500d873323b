"""EfficientNet-Lite0 in plain Keras layers, with the call of `keras.applications`, which has no Lite network."""

import keras
from keras import layers

# Repeats, kernel, stride of the first, expansion and channels of each block (Tan and Le 2019, table 1; the Lite
# networks leave out squeeze-and-excitation and use ReLU6).
_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_DROPOUT = 0.2


def efficientnet_lite0(
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = None,
    include_top: bool = False,
    classes: int = 1000,
) -> keras.Model:
    """Return EfficientNet-Lite0. It takes float32 (RGB pixels - 127) / 128.

    Args:
        input_shape: Height, width and channels; None for any height or width.
        weights: The path of a file that Keras saved; by default they are random.
        include_top: Whether the ImageNet head (average, dropout, logits) ends the network.
        classes: How many logits it has.
    """
    inputs = keras.Input(input_shape)
    values = _normalised(_conv(_STEM, 3, 2, "stem_conv")(inputs), "stem")
    values = layers.ReLU(6.0, name="stem_relu")(values)
    for block, (repeats, kernel, stride, expansion, channels) in enumerate(_BLOCKS, start=1):
        for repeat in range(repeats):
            name = f"block{block}{'abcd'[repeat]}"
            values = _inverted_bottleneck(values, name, kernel, 1 if repeat else stride, expansion, channels)
        values = layers.Activation("linear", name=f"block{block}_out")(values)  # a name for the end of the block
    values = _normalised(_conv(_HEAD, 1, 1, "head_conv")(values), "head")
    values = layers.ReLU(6.0, name="head_relu")(values)
    if include_top:
        values = layers.GlobalAveragePooling2D(name="avg_pool")(values)
        values = layers.Dropout(_DROPOUT, name="top_dropout")(values)
        values = layers.Dense(classes, name="logits")(values)
    network = keras.Model(inputs, values, name="efficientnet_lite0")
    if weights is not None:
        network.load_weights(weights)
    return network


def _inverted_bottleneck(
    inputs: keras.KerasTensor, name: str, kernel: int, stride: int, expansion: int, channels: int
) -> keras.KerasTensor:
    values, before = inputs, inputs.shape[-1]
    if expansion != 1:
        values = _normalised(_conv(before * expansion, 1, 1, f"{name}_expand_conv")(values), f"{name}_expand")
        values = layers.ReLU(6.0, name=f"{name}_expand_relu")(values)
    depthwise = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_dw_conv")
    values = layers.ReLU(6.0, name=f"{name}_dw_relu")(_normalised(depthwise(values), f"{name}_dw"))
    values = _normalised(_conv(channels, 1, 1, f"{name}_project_conv")(values), f"{name}_project")
    if stride == 1 and before == channels:
        values = layers.Add(name=f"{name}_add")([values, inputs])
    return values


def _conv(filters: int, kernel: int, stride: int, name: str) -> layers.Conv2D:
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)


def _normalised(values: keras.KerasTensor, name: str) -> keras.KerasTensor:
    # 130 channels have hardly any variance, so that accuracy depends on epsilon: with 1e-5 it is 1.7 points lower.
    return layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")(values)
