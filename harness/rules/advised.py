"""The advice on a data set, in figures and in words."""

from dataclasses import dataclass

from harness.core.strategy import Strategy
from harness.guidance.advice import Advice
from harness.guidance.profile import Profile
from harness.rules.league import Standing
from harness.rules.profile import Probed
from harness.rules.telling import in_points


@dataclass(frozen=True, slots=True)
class Option:
    """An arm on a data set: the validation accuracy to expect with its 90 % interval, and the training FLOPs and
    predicted seconds on this machine that it takes."""

    arm: Strategy
    accuracy: float
    low: float
    high: float
    flops: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Advised:
    """The advice on a data set.

    Attributes:
        dataset: Its name.
        profile: Its size, balance and similarity to ImageNet.
        probed: What the rules know of it.
        n_validation: Validation images that a search would have.
        n_probed: Training images that were probed.
        article: What the article's table says.
        rule: The rule to follow, and how it did in the league.
        options: All arms, the highest expected accuracy first.
        by_rule: The arm that each rule chooses.
        alike: The recorded sets that are most like this one, and the rule's regret there as a share of the images.
        probing: The FLOPs of the probes.
    """

    dataset: str
    profile: Profile
    probed: Probed
    n_validation: int
    n_probed: int
    article: Advice
    rule: Standing
    options: tuple[Option, ...]
    by_rule: dict[str, Strategy]
    alike: dict[str, float]
    probing: float

    @property
    def choice(self) -> Option:
        """Return what the rule to follow chooses."""
        return next(option for option in self.options if option.arm == self.by_rule[self.rule.rule.name])

    def sentences(self) -> list[str]:
        """Return the advice in sentences, the data set first."""
        probed, rule, choice = self.probed, self.rule, self.choice
        sampled = f", {self.n_probed:,} of them probed" if self.n_probed < probed.n_train else ""
        sizes = [size for size in self.profile.class_sizes if size]
        best = max(probed.probes, key=lambda place: probed.probes[place].linear)
        found = [
            f"{self.dataset}: {probed.n_train:,} training images{sampled}, {probed.classes} classes of {min(sizes):,} "
            f"to {max(sizes):,} images. {self.article.reason[:1].upper()}{self.article.reason[1:]}. A linear probe on "
            f"the best frozen features is right for {probed.probes[best].linear:.0%} of the images: {best}.",
            f"The article's table: scenario {self.article.scenario}, {self.article.strategy.place()}.",
            f"The rule to follow, {rule.rule.name!r} ({rule.rule.text}): {choice.arm.place()}. Expected accuracy "
            f"{choice.accuracy:.3f}, in 90 % of cases {choice.low:.2f} to {choice.high:.2f}.",
            f"In the league this rule was {in_points(rule.behind)} points behind the best of all ways; on the sets "
            f"most like yours: {', '.join(f'{name} {100 * regret:.1f}' for name, regret in self.alike.items())}.",
        ]
        by_arm: dict[str, list[str]] = {}
        for name, arm in self.by_rule.items():
            by_arm.setdefault(arm.place(), []).append(name)
        others = {place: names for place, names in by_arm.items() if place != choice.arm.place()}
        if others:
            listed = "; ".join(f"{place} ({', '.join(names)})" for place, names in others.items())
            found.append(f"Rules that choose otherwise: {listed}.")
        return found

    def __repr__(self) -> str:
        return "\n".join(self.sentences())
