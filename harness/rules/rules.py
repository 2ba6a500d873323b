"""Rules that choose one of the league's arms for a data set before anything is trained on it.

A rule is a function of what is known of the data set and of the recorded outcomes on other sets, which most ignore. To
enter another, write it and add it to `RULES`: `harness league` ranks it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.core.backbone import BackboneSpec
from harness.core.spec import AdviceSpec
from harness.core.strategy import VGG16, Kind, Strategy
from harness.guidance.advice import ADVISED, SCENARIOS
from harness.rules.arms import OTHER, TRAINED_SIZES
from harness.rules.expectation import learn
from harness.rules.outcomes import Outcomes
from harness.rules.profile import Probed

Arm = tuple[str, int, Kind]
Choose = Callable[[Probed, Outcomes], Strategy]
Needs = Literal["nothing", "similarity", "probes"]

ALIKE = 5
"""Data sets that count as like another."""
_SMALL_IMAGE = 96
"""BiT-HyperRule: images of fewer than 96 x 96 pixels are trained on at the lower resolution."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name, what it says in words, what it has to know of the data set, how it chooses, and of which arms
    at the least (backbone, image size, kind), where it does not choose among whatever is recorded."""

    name: str
    text: str
    needs: Needs
    choose: Choose
    among: tuple[Arm, ...] = ()

    def possible(self, arms: Sequence[Strategy]) -> bool:
        """Whether the arms that it may choose are there."""
        return set(self.among) <= {(arm.backbone, arm.image_size, arm.kind) for arm in arms}


def article(image_size: int) -> Rule:
    """Return the article's table, with VGG16 at ``image_size``."""
    boundaries = AdviceSpec()

    def choose(probed: Probed, past: Outcomes) -> Strategy:
        large, similar = probed.n_train >= boundaries.large_at, probed.distance < boundaries.similar_below
        _, kind = SCENARIOS[large, similar]
        return _arm(past, VGG16, image_size, kind)

    among: tuple[Arm, ...] = tuple((VGG16, image_size, kind) for _, kind in SCENARIOS.values())
    text = f"the article's table, with VGG16 at {image_size} px"
    return Rule(f"article, {image_size} px", text, "similarity", choose, among)


def head_first(backbone: str, image_size: int) -> Rule:
    """Return the rule to train the head first and then everything at a low rate, as the Keras guide, fastai's
    ``fine_tune`` and LP-FT (Kumar et al. 2022) have it."""
    arm: Arm = backbone, image_size, "two_phase"
    label = BackboneSpec.load(backbone).label
    text = f"the head, then everything at a low rate (Keras guide, fastai, LP-FT): {label} at {image_size} px"
    return Rule(f"head first, {label}", text, "nothing", lambda probed, past: _arm(past, *arm), (arm,))


def bit_hyperrule(backbone: str) -> Rule:
    """Return BiT-HyperRule (Kolesnikov et al. 2020): fine-tune all, small images at a lower resolution."""
    among: tuple[Arm, ...] = tuple((backbone, size, "fine_tune_all") for size in TRAINED_SIZES)

    def choose(probed: Probed, past: Outcomes) -> Strategy:
        return _arm(past, *among[probed.own_size >= _SMALL_IMAGE])

    text = f"fine-tune all of {BackboneSpec.load(backbone).label}; images of less than {_SMALL_IMAGE} px at 64 px"
    return Rule("BiT-HyperRule", text, "nothing", choose, among)


def highest(score: Literal["knn", "linear", "logme", "h_score"]) -> Choose:
    """Return the rule that freezes up to the features with the highest ``score``; of equals, the cheapest arm."""

    def choose(probed: Probed, past: Outcomes) -> Strategy:
        cheap = np.nanmean(past.flops, axis=0)
        there = [i for i in np.argsort(cheap, kind="stable").tolist() if past.arms[i].place() in probed.probes]
        scores = [getattr(probed.probes[past.arms[i].place()], score) for i in there]
        best: int = there[int(np.nan_to_num(scores, nan=-np.inf).argmax())]
        return past.arms[best]

    return choose


def best_constant(probed: Probed, past: Outcomes) -> Strategy:
    """Choose the arm that was least behind the best on the other sets."""
    return past.constant


def nearest_sets(probed: Probed, past: Outcomes) -> Strategy:
    """Choose the arm that was least behind the best on the sets that are most like this one."""
    return past.only(*past.alike(probed, ALIKE)).constant


def learned(probed: Probed, past: Outcomes) -> Strategy:
    """Choose the arm of the highest expected accuracy, see `harness.rules.expectation`."""
    return past.arms[int(learn(past).expect(probed).accuracy.argmax())]


RULES = (
    *(article(size) for size in TRAINED_SIZES),
    head_first(VGG16, TRAINED_SIZES[0]),
    head_first(OTHER, TRAINED_SIZES[0]),
    bit_hyperrule(OTHER),
    Rule("highest LogME", "freeze up to the features of the highest LogME", "probes", highest("logme")),
    Rule("highest H-score", "freeze up to the features of the highest H-score", "probes", highest("h_score")),
    Rule("nearest neighbours", "freeze up to the features whose neighbours agree most", "probes", highest("knn")),
    Rule("linear probe", "freeze up to the features of the best linear probe", "probes", highest("linear")),
    Rule("best constant", "the arm that is least behind on other sets", "nothing", best_constant),
    Rule("nearest sets", f"the arm that is least behind on the {ALIKE} most similar sets", "probes", nearest_sets),
    Rule("learned", "the arm of the highest expected accuracy", "probes", learned),
)
"""All rules but the constants, of which each arm is one."""


def _arm(past: Outcomes, backbone: str, image_size: int, kind: Kind) -> Strategy:
    """Return the arm of a kind; of several depths, that of the advice."""
    found = [arm for arm in past.arms if (arm.backbone, arm.image_size, arm.kind) == (backbone, image_size, kind)]
    wanted = ADVISED[kind].frozen if kind in ADVISED else 0
    return min(found, key=lambda arm: abs(arm.frozen - wanted))
