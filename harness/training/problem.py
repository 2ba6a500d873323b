"""Everything the trials of a study on one backbone share: images, backbone, cached activations, networks and steps."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.backbones.activation_cache import FeatureCache
from harness.backbones.backbone import Backbone
from harness.backbones.devices import on_gpu, use_precision
from harness.backbones.weights import Weights
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock
from harness.core.cost import Spent
from harness.core.results import BaselineName
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.augmentation import view
from harness.data.dataset import Split
from harness.training.counts import Setting, training_seconds
from harness.training.fit import Part, Steps, steps
from harness.training.flops import Cost, cached_start, trial_cost
from harness.training.networks import Networks


@dataclass(frozen=True)
class Problem:
    """A study on one of its backbones, ready to run trials on.

    ``rates`` are the study's for this backbone: seconds by operation (`harness.training.counts.OPERATIONS`), None where
    it has none. ``planned`` are the stages whose stored output waiting trials start from, by image size: a pass that
    goes through them stores their output too, see `expect`.
    """

    spec: StudySpec
    split: Split
    backbone: Backbone
    features: FeatureCache
    networks: Networks
    steps: Steps = field(default_factory=steps)
    rates: Mapping[str, float] | None = None
    planned: dict[int, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, declared: BackboneSpec, spec: StudySpec, split: Split, weights: Weights, cache: Path) -> "Problem":
        """Return the study on the backbone that is ``declared``, with activations kept in the folder ``cache``.

        Sets Keras's precision for the process.
        """
        set_precision(spec)
        return cls.on(Backbone.of(declared, weights), spec, split, cache)

    @classmethod
    def on(cls, backbone: Backbone, spec: StudySpec, split: Split, cache: Path) -> "Problem":
        """Return the study on a ``backbone`` that is built."""
        networks = Networks(backbone, split.n_classes)
        return cls(spec, split, backbone, FeatureCache(cache, backbone, spec.budget.cache_bytes), networks)

    @property
    def n_stages(self) -> int:
        """The number of stages of the backbone."""
        return len(self.backbone.stages)

    def start(self, strategy: Strategy) -> int:
        """Return the stage whose stored activations ``strategy`` trains from; 0 for the images themselves."""
        return self._start(strategy.frozen, strategy.image_size)

    def expect(self, frozen: int, image_size: int) -> None:
        """Note that a trial is planned that freezes ``frozen`` stages at ``image_size``."""
        self.planned.setdefault(image_size, set()).add(self._start(frozen, image_size))

    def cost(self, strategy: Strategy) -> Cost:
        """Return the FLOPs of training ``strategy`` on its own."""
        return trial_cost(
            self.backbone.architecture,
            strategy,
            self.split.n_classes,
            self._n_stored(),
            self.spec.budget.cache_bytes,
            self.spec.data.views,
        )

    @property
    def setting(self) -> Setting:
        """What the trials on this backbone have in common."""
        split = self.split
        sizes = {"classes": split.n_classes, "n_train": len(split.train), "n_validation": len(split.validation)}
        return Setting.of(self.spec, sizes, self.backbone.architecture)

    def spent(self, strategy: Strategy, epochs: float) -> Spent:
        """Return what training ``strategy`` for so many epochs costs on its own."""
        flops = self.cost(strategy).at(len(self.split.train), epochs)
        if self.rates is None:
            return Spent(flops)
        return Spent(flops, training_seconds(self.setting.counts(strategy, epochs), self.rates))

    def spent_by_baseline(self, name: BaselineName, epochs: float, flops: float) -> Spent:
        """Return the same for a baseline whose training takes so many ``flops``. Of the linear probe only the network
        in front of it is timed."""
        if self.rates is None:
            return Spent(flops)
        counts = self.setting.baseline({"name": name, "epochs": epochs, "train_flops": flops})
        return Spent(flops, 0.0 if counts is None else training_seconds(counts, self.rates))

    def parts(self, start: int, image_size: int, clock: Clock, also: Collection[int] = ()) -> tuple[Part, Part, bool]:
        """Return the training and validation set after stage ``start`` at ``image_size``, and whether both were
        in the cache.

        What has to be computed is computed in one pass for the stages ``also`` and for those of planned trials too.
        Raises DiskFull where there is no room to store it.
        ``clock`` is charged what computing them takes, whether or not that was done now: the training set's as
        features, the validation set's as evaluation.
        """
        data = self.spec.data
        images = [view(self.split.train, i, flip=data.flip) for i in range(data.views)] + [self.split.validation]
        stages = self.planned.get(image_size, set()).union(also)
        self.features.reserve(images, start, image_size)
        *views, validation = [self.features.get(part, start, image_size, stages) for part in images]
        clock.add("features", sum(found.seconds for found in views))
        clock.add("evaluation", validation.seconds)
        return (
            Part(
                views[0].values,
                self.split.train.labels,
                self._weights(),
                tuple(found.values for found in views[1:]),
                data.flip,
            ),
            Part(validation.values, self.split.validation.labels),
            all(found.cached for found in (*views, validation)),
        )

    def _start(self, frozen: int, image_size: int) -> int:
        max_bytes = self.spec.budget.cache_bytes
        return cached_start(self.backbone.architecture, frozen, image_size, self._n_stored(), max_bytes)

    def _n_stored(self) -> int:
        """Return how many images have their activations stored; each view counts."""
        return self.spec.data.views * len(self.split.train) + len(self.split.validation)

    def _weights(self) -> NDArray[np.float32] | None:
        """Return what each training image counts in the loss; None for one each.

        With the study's ``class_weights`` all classes count the same, whatever their sizes, and images one on average.
        """
        if not self.spec.class_weights:
            return None
        labels = self.split.train.labels
        counts = np.bincount(labels, minlength=self.split.n_classes)
        return (len(labels) / (len(counts) * counts[labels])).astype(np.float32)


def on_each_backbone(spec: StudySpec, split: Split, weights: Mapping[str, Weights], cache: Path) -> dict[str, Problem]:
    """Return the study on each of its backbones, by name."""
    return {
        declared.name: Problem.of(declared, spec, split, weights[declared.name], cache)
        for declared in spec.search.backbones
    }


def set_precision(spec: StudySpec) -> None:
    """Make the study's precision Keras's policy.

    A study from before auto was resolved at its start says auto: then it is float32 on any CPU.
    """
    wanted = spec.budget.precision
    if wanted == "auto":
        wanted = "bfloat16" if on_gpu() else "float32"
    use_precision(wanted)
