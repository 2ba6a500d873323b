"""Everything the trials of one study share: its images, the backbone, cached activations, built networks."""

from dataclasses import dataclass
from pathlib import Path

import keras

from harness.backbone import Backbone, on_gpu
from harness.cost import Cost, cache_boundary, trial_cost
from harness.data import Images, Split
from harness.features import FeatureCache
from harness.models import Networks
from harness.spec import StudySpec
from harness.strategy import Strategy
from harness.training import Part
from harness.weights import Weights


@dataclass(frozen=True)
class Problem:
    """One study, ready to run trials on."""

    spec: StudySpec
    split: Split
    backbone: Backbone
    features: FeatureCache
    networks: Networks

    @classmethod
    def vgg16(cls, spec: StudySpec, split: Split, weights: Weights, cache: Path) -> "Problem":
        """The study on real VGG16, activations kept in the folder ``cache``. Sets Keras's precision for the process."""
        set_precision(spec)
        return cls.on(Backbone.vgg16(weights, spec.data.image_size), spec, split, cache)

    @classmethod
    def on(cls, backbone: Backbone, spec: StudySpec, split: Split, cache: Path) -> "Problem":
        """The study on any ``backbone`` of VGG16's kind."""
        networks = Networks(backbone, split.train.pixels.shape[1:], split.n_classes)
        return cls(spec, split, backbone, FeatureCache(cache, backbone, spec.budget.cache_bytes), networks)

    def boundary(self, strategy: Strategy) -> int:
        """The convolution whose stored activations ``strategy`` trains from; 0 for the pictures themselves."""
        return cache_boundary(
            self.backbone.architecture,
            strategy.frozen_convs,
            self.spec.data.image_size,
            self.split.largest_part(),
            self.spec.budget.cache_bytes,
        )

    def cost(self, strategy: Strategy) -> Cost:
        """FLOPs of training ``strategy`` on its own."""
        return trial_cost(
            self.backbone.architecture,
            strategy,
            self.split.n_classes,
            self.spec.data.image_size,
            self.split.largest_part(),
            self.spec.budget.cache_bytes,
        )

    def parts(self, boundary: int) -> tuple[Part, Part, float, bool]:
        """Both parts behind ``boundary`` (training first), the seconds that took, whether both were in the cache."""

        def part(images: Images) -> tuple[Part, float, bool]:
            found = self.features.get(images, boundary)
            return Part(found.values, images.labels), found.seconds, found.cached

        train, train_seconds, train_cached = part(self.split.train)
        validation, validation_seconds, validation_cached = part(self.split.validation)
        return train, validation, train_seconds + validation_seconds, train_cached and validation_cached


def set_precision(spec: StudySpec) -> None:
    """Make the study's precision Keras's policy: auto is bfloat16 on a GPU, and float32 on a CPU, where bfloat16 gains
    a tenth only at the batch sizes of small studies."""
    wanted = spec.budget.precision
    if wanted == "auto":
        wanted = "bfloat16" if on_gpu() else "float32"
    keras.config.set_dtype_policy("mixed_bfloat16" if wanted == "bfloat16" else "float32")
