"""What may be added to plain training: rates by layer, regularization, augmentation, averaged weights."""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Refinements:
    """Additions to plain training, each off by default.

    Attributes:
        body_rate: Learning rate of the pretrained stages over the head's.
        layer_decay: Learning rate of each stage over that of the stage after it (timm); the last has ``body_rate``.
        weight_decay: Share of the learning rate by which each step shrinks kernels, not biases and normalization
            (AdamW, Loshchilov and Hutter 2019; with SGD alike).
        label_smoothing: Share of each label that is spread over all classes (Szegedy et al. 2016).
        clip_norm: Norm to which the gradient of each variable is cut, as by Keras's ``clipnorm``; 0 for no limit.
        augmentation: Strength, 0 to 1, of random crops and of RandAugment's changes to each image of a batch, new ones
            in every epoch. Only where nothing is frozen.
        mixup: Parameter of the beta distribution by which pairs of images are mixed (Zhang et al. 2018); 0 for none.
            Only where nothing is frozen.
        averaging: Share of the epochs, the last ones, whose weights are averaged at the end; 0 for none.
    """

    body_rate: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    augmentation: float = 0.0
    mixup: float = 0.0
    averaging: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: give {low:g} to {high:g}")

    @property
    def by_layer(self) -> bool:
        """Return whether pretrained stages have rates of their own."""
        return self.body_rate != 1 or self.layer_decay != 1

    @property
    def of_images(self) -> bool:
        """Return whether the images are changed."""
        return self.augmentation > 0 or self.mixup > 0

    @property
    def soft_labels(self) -> bool:
        """Return whether an image counts for several classes."""
        return self.label_smoothing > 0 or self.mixup > 0

    @property
    def of_updates(self) -> bool:
        """Return whether the optimizer's updates are changed, apart from their rate."""
        return self.weight_decay > 0 or self.clip_norm > 0

    @property
    def traced(self) -> tuple[bool, bool, bool]:
        """Return what a compiled training step depends on: types of its inputs, and what it does to updates."""
        return self.of_updates, self.soft_labels, self.of_images

    def of_frozen(self) -> "Refinements":
        """Return those that mean something while the whole backbone is frozen."""
        return replace(self, body_rate=1.0, layer_decay=1.0, augmentation=0.0, mixup=0.0, averaging=0.0)

    def stage_rates(self, n_stages: int) -> list[float]:
        """Return the factors on the learning rate of the last ``n_stages`` stages, first to last."""
        return [self.body_rate * self.layer_decay**after for after in reversed(range(n_stages))]

    def label(self) -> str:
        """Return those that are on in a few words: ``body rate 0.1, mixup 0.2``."""
        on = [name for name in NAMES if getattr(self, name) != getattr(PLAIN, name)]
        return ", ".join(f"{name.replace('_', ' ')} {getattr(self, name):.2g}" for name in on)


LIMITS = {
    "body_rate": (1e-4, 1.0), "layer_decay": (0.1, 1.0), "weight_decay": (0.0, 1.0), "label_smoothing": (0.0, 0.5),
    "clip_norm": (0.0, 1e6), "augmentation": (0.0, 1.0), "mixup": (0.0, 10.0), "averaging": (0.0, 1.0),
}  # fmt: skip
"""The smallest and the largest value of each."""
RATES = ("body_rate", "layer_decay")
"""Refinements of the learning rate of pretrained layers that train."""
OF_IMAGES = ("augmentation", "mixup")
"""Refinements of the images themselves, where nothing is frozen."""
NAMES = tuple(field.name for field in fields(Refinements))
PLAIN = Refinements()
