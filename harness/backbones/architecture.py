"""The layers of VGG16 as numbers. Imports no framework, so that costs are known without one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RGB = 3
KERNEL = 3
"""Side of VGG16's kernels."""
POOL = 2
"""Side and stride of its max-pools."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A 3x3 'same' convolution with ReLU. ``pool_after`` says whether a 2x2 max-pool follows it and ends the block."""

    name: str
    in_channels: int
    out_channels: int
    pool_after: bool


Architecture = Sequence[Conv]


def _vgg(blocks: Iterable[tuple[int, int]]) -> tuple[Conv, ...]:
    convs: list[Conv] = []
    for block, (n_convs, channels) in enumerate(blocks, start=1):
        for i in range(1, n_convs + 1):
            before = convs[-1].out_channels if convs else RGB
            convs.append(Conv(f"block{block}_conv{i}", before, channels, pool_after=i == n_convs))
    return tuple(convs)


VGG16: tuple[Conv, ...] = _vgg([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)])
"""The 13 convolutions of VGG16 (Simonyan and Zisserman 2015, configuration D), named as in Keras."""


def feature_shape(architecture: Architecture, k: int, image_size: int) -> tuple[int, int, int]:
    """Return the shape (height, width, channels) of the output of convolution ``k``, after its pool if it has one.

    With ``k`` = 0 it is the shape of the image. Raises ValueError if the architecture has no convolution ``k``.
    """
    if not 0 <= k <= len(architecture):
        raise ValueError(f"k must be 0 to {len(architecture)}, but got {k}")
    convs = architecture[:k]
    side = image_size
    for conv in convs:
        side //= POOL if conv.pool_after else 1
    return side, side, convs[-1].out_channels if convs else RGB
