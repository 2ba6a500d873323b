"""The arms of the league: ways of reusing a network, with everything but the data set fixed."""

from dataclasses import replace

from harness.core.backbone import BackboneSpec
from harness.core.strategy import ARTICLE_KINDS, VGG16, Strategy
from harness.guidance.advice import ADVISED

EPOCHS = 10
BATCH_SIZE = 32
HEAD_EPOCHS = 3
"""Of `EPOCHS`, in which the head of ``two_phase`` trains alone."""
OTHER = "efficientnet_lite0"
RATE_FACTORS = {VGG16: 1.0, OTHER: 5.0}
"""On the learning rates that `ADVISED` has for training VGG16's convolutions: batch normalization bears higher ones. A
new head on a frozen network gets the same rate on both."""
TRAINED_SIZES = (64, 128)
"""Image sizes at which the network itself is trained, in pixels."""
FROZEN_SIZES = (64, 128, 160, 224)

_FROZEN = ADVISED["feature_extraction"]
_ARTICLE = [ADVISED[kind] for kind in ARTICLE_KINDS]
_TWO_PHASE = replace(
    _FROZEN,
    kind="two_phase",
    frozen=0,
    head_epochs=HEAD_EPOCHS,
    rate_factor=ADVISED["fine_tune_all"].learning_rate / _FROZEN.learning_rate,
)
_DEPTHS = [replace(ADVISED["freeze_first_k"], frozen=k) for k in (4, 10)]
"""Of VGG16's 13 convolutions; of another network as large a share is frozen. The article's four have k = 7."""


def waves() -> list[list[Strategy]]:
    """Return the arms in the order of their recording: the frozen ones, which cost least, then by cost."""
    small, large = TRAINED_SIZES
    frozen = [_on(_FROZEN, backbone, size) for backbone in RATE_FACTORS for size in FROZEN_SIZES]
    more = (_TWO_PHASE, *_DEPTHS)
    pretrained = (ADVISED["fine_tune_all"], ADVISED["freeze_first_k"], *more)
    return [
        frozen,
        [_on(arm, VGG16, small) for arm in _ARTICLE[1:]],
        [_on(arm, OTHER, small) for arm in pretrained] + [_on(arm, VGG16, small) for arm in more],
        [_on(arm, OTHER, large) for arm in pretrained],
        [_on(arm, VGG16, large) for arm in (*_ARTICLE[1:], *more)],
        [_on(ADVISED["from_scratch"], OTHER, size) for size in TRAINED_SIZES],
    ]


def arms() -> list[Strategy]:
    """Return all arms."""
    return [arm for wave in waves() for arm in wave]


def probed_arms() -> list[Strategy]:
    """Return the arms whose frozen features are probed: those that freeze something, VGG16's up to the sizes at which
    networks are trained. At larger ones its features cost more than most of the other arms."""
    return [arm for arm in arms() if arm.frozen and (arm.image_size in TRAINED_SIZES or arm.backbone != VGG16)]


def _on(arm: Strategy, backbone: str, image_size: int) -> Strategy:
    moved = arm.on(BackboneSpec.load(backbone), image_size)
    factor = RATE_FACTORS[backbone]
    if arm.kind == "feature_extraction":
        return moved
    if arm.kind == "two_phase":
        return replace(moved, rate_factor=arm.rate_factor * factor)
    return replace(moved, learning_rate=arm.learning_rate * factor)
