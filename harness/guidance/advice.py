"""The article's guidance: four scenarios, the strategy each calls for, and its two MNIST recipes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.core.strategy import N_CONVS, Kind, Strategy

if TYPE_CHECKING:  # it reads images, and with them scikit-learn: seconds that a page need not wait
    from harness.guidance.profile import Profile

SCENARIOS: dict[tuple[bool, bool], tuple[int, Kind]] = {  # (large, similar) -> (number in the article, what it advises)
    (False, True): (1, "feature_extraction"),
    (False, False): (2, "freeze_first_k"),
    (True, False): (3, "from_scratch"),
    (True, True): (4, "fine_tune_all"),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """Scenario 1 to 4, the strategy it calls for and why, in words."""

    scenario: int
    strategy: Strategy
    reason: str

    @classmethod
    def of(cls, scenario: int, reason: str) -> "Advice":
        """What that scenario calls for."""
        kind = next(kind for number, kind in SCENARIOS.values() if number == scenario)
        return cls(scenario, ADVISED[kind], reason)


def advise(profile: "Profile", large_at: int) -> Advice:
    """What the article would do with such a data set; ``large_at`` training images or more count as large.

    The article leaves k and the rates open. For k the middle of the network is taken (7 convolutions: blocks 1 to 3),
    and the fine-tuned strategies get a lower rate than training from scratch, as it says.
    """
    large = profile.n_images >= large_at
    scenario, kind = SCENARIOS[large, profile.similar]
    size = (
        f"{profile.n_images:,} training images count as {'large' if large else 'small'} (boundary {large_at:,}; the "
        "article calls 60,000 small)"
    )
    likeness = f"{'similar' if profile.similar else 'not similar'} to ImageNet ({profile.similarity_source})"
    return Advice.of(scenario, f"{size} and {likeness}: scenario {scenario}, {kind}")


ADVISED: dict[Kind, Strategy] = {
    "feature_extraction": Strategy("feature_extraction", N_CONVS, "average", (), 0.0, "adam", 1e-2),
    "freeze_first_k": Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4),
    "from_scratch": Strategy("from_scratch", 0, "average", (), 0.0, "adam", 3e-4),
    "fine_tune_all": Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-4),
}

RECIPES: dict[Literal["recipe_extractor", "recipe_partial"], Strategy] = {
    "recipe_extractor": Strategy("feature_extraction", N_CONVS, "flatten", (1000, 500, 150), 0.3, "adam", 1e-3),
    "recipe_partial": Strategy("freeze_first_k", 5, "flatten", (4096, 4096), 0.0, "sgd", 1e-3),
}
"""The article's two MNIST recipes in this search's terms, run within the study's own budget, image size and batch.

Extractor: dense 1000-500-150 on the flattened features, Adam at Keras's default rate. Its listing builds dropout of
.3, .4 and .2 and never adds it; here the first of the three is applied, as its text means. All hidden layers are ReLU;
the listing has sigmoid in the second and third. Partial: ``model.layers[:8]`` frozen, which is 5 convolutions, then fc1
and fc2 of 4,096, random here because weights without top have none; SGD at 1e-3 with Nesterov momentum .9.
Rates are warmed up and decayed and the head's input is scaled, as in every trial here.
"""
