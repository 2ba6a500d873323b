"""VGG16's ImageNet weights: verified tensors and where they came from.

The weights are the Visual Geometry Group's (Oxford, CC BY 4.0) as converted for Keras: the 13 convolutions without top.
No other values are accepted, and missing weights are an error, never replaced by random ones.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.backbones.weight_files import Tensors, digest
from harness.backbones.weight_sources import find


@dataclass(frozen=True)
class Weights:
    """Verified weights.

    Attributes:
        tensors: Kernel and bias of each convolution.
        source: Where they came from, in words.
        notes: Why each source before it failed.
        digest: One sha256 over the digests of all tensors, for cache keys and records.
    """

    tensors: Tensors
    source: str
    notes: tuple[str, ...]
    digest: str


def load_weights(path: Path | None = None) -> Weights:
    """Return VGG16's ImageNet weights from the first source that has them, see `harness.backbones.weight_sources`.

    Args:
        path: A ``.weights.h5`` of Keras 3 or the legacy ``…_notop.h5``. By default the environment variable
            HARNESS_VGG16_WEIGHTS, then the other sources.

    Raises:
        WeightsError: If the given file does not hold VGG16's ImageNet weights, or no source has them.
        StorageError: If the cache folder cannot be written.
    """
    return Weights(*find(path), digest())
