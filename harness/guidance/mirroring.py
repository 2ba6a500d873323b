"""Whether a mirrored image still shows its class, judged by frozen features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.dataset import Images
from harness.guidance.measure import averages_by_depth, reference_backbone
from harness.statistics.intervals import Interval
from harness.statistics.probing import knn_correct

IMAGE_SIZE = 96
"""Side of the images that the features are taken of, in pixels."""
SAMPLE = 200
"""Images that are looked at, at most."""
_DEPTH = 10
"""Convolutions before the features. What an average over the whole map forgets, where something is, tells digits from
their mirror images; so the map is averaged in 3 x 3 fields."""
_FIELDS = 3
_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Mirroring:
    """The share of ``n_images`` images whose class their nearest other images have, as they are (``accuracy``) and
    mirrored; ``low`` and ``high`` are the 95 % interval of the difference."""

    n_images: int
    accuracy: float
    mirrored: float
    low: float
    high: float

    @property
    def keeps_classes(self) -> bool:
        """Return whether mirrored images are recognised as well, up to two points or what chance explains."""
        return self.mirrored >= self.accuracy - _TOLERANCE or self.high >= 0

    def sentence(self) -> str:
        """Return the finding and what follows from it."""
        share = f"{self.accuracy:.3f} of {self.n_images:,} images as they are and {self.mirrored:.3f} mirrored"
        found = f"the nearest other images have the class of {share} (95 % {self.low:+.3f} to {self.high:+.3f})"
        if self.keeps_classes:
            return f"{found}: mirrored images are recognised as well, data.flip = true is worth trying"
        return f"{found}: mirrored images look like other classes, leave data.flip = false"


def measure_mirroring(images: Images, weights: Path | None) -> Mirroring:
    """Compare images with their mirror images, by features of VGG16 with these ``weights``."""
    if len(images) < 2:
        raise DataError(f"mirrored images cannot be judged on {len(images)} image: give more")
    backbone = reference_backbone(weights)
    (features,), (mirrored,) = (
        averages_by_depth(pixels, backbone, IMAGE_SIZE, [_DEPTH], _in_fields)
        for pixels in (images.pixels, images.pixels[:, :, ::-1])
    )
    as_they_are = knn_correct(features, features, images.labels)
    turned = knn_correct(mirrored, features, images.labels)
    found = Interval.of((turned.astype(float) - as_they_are).tolist())
    return Mirroring(len(images), float(as_they_are.mean()), float(turned.mean()), found.low, found.high)


def _in_fields(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of the fields of maps (n, height, width, channels): (n, fields x channels)."""
    n, side, _, channels = maps.shape
    fields = maps.reshape(n, _FIELDS, side // _FIELDS, _FIELDS, side // _FIELDS, channels)
    means: NDArray[np.float32] = fields.mean(axis=(2, 4)).reshape(n, -1)
    return means
