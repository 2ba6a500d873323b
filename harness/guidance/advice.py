"""The article's guidance: four scenarios, the strategy that each advises, and two recipes for MNIST."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.core.refinements import Refinements
from harness.core.search_space import SearchSpace
from harness.core.spec import StudySpec
from harness.core.strategy import N_CONVS, Kind, RecipeName, Strategy

if TYPE_CHECKING:  # it imports scikit-learn to read images, which takes seconds that a page does not need
    from harness.guidance.profile import Profile

SCENARIOS: dict[tuple[bool, bool], tuple[int, Kind]] = {  # (large, similar) -> (article's number, advised strategy)
    (False, True): (1, "feature_extraction"),
    (False, False): (2, "freeze_first_k"),
    (True, False): (3, "from_scratch"),
    (True, True): (4, "fine_tune_all"),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """Scenario 1 to 4, the strategy it advises and the reason in words."""

    scenario: int
    strategy: Strategy
    reason: str

    @classmethod
    def of(cls, scenario: int, reason: str, space: SearchSpace) -> "Advice":
        """Return the advice of a scenario, at the size that ``space`` has for it."""
        kind = next(kind for number, kind in SCENARIOS.values() if number == scenario)
        return cls(scenario, advised(space, space.advice_size)[kind], reason)


def advise(profile: "Profile", large_at: int, space: SearchSpace) -> Advice:
    """Return the article's advice for a data set; ``large_at`` or more training images count as large.

    It is meant for images of VGG16's own size, and tried at the size that ``space`` has for it.

    The article gives no numbers for k and the learning rates. Here k is the middle of the network (7 convolutions,
    blocks 1 to 3), and fine-tuning has a lower rate than training from scratch, as the article says.
    """
    large = profile.n_images >= large_at
    scenario, kind = SCENARIOS[large, profile.similar]
    size = (
        f"{profile.n_images:,} training images count as {'large' if large else 'small'} (boundary {large_at:,}; the "
        "article calls 60,000 small)"
    )
    likeness = f"{'similar' if profile.similar else 'not similar'} to ImageNet ({profile.similarity_source})"
    return Advice.of(scenario, f"{size} and {likeness}: scenario {scenario}, {kind}", space)


ADVISED: dict[Kind, Strategy] = {
    "feature_extraction": Strategy("feature_extraction", N_CONVS, "average", (), 0.0, "adam", 1e-2),
    "freeze_first_k": Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4),
    "from_scratch": Strategy("from_scratch", 0, "average", (), 0.0, "adam", 3e-4),
    "fine_tune_all": Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-4),
}
"""What the article advises in its scenarios, at VGG16's own image size."""


def advised(space: SearchSpace, image_size: int) -> dict[Kind, Strategy]:
    """Return what the article advises in its scenarios, at ``image_size``: for VGG16, or else the first backbone."""
    return {kind: strategy.on(space.advice_backbone, image_size) for kind, strategy in ADVISED.items()}


def recipe(name: RecipeName, spec: StudySpec) -> Strategy:
    """Return a recipe as a study tries it: the head alone is trained for as long as the recipe says, within the study's
    bounds."""
    found = RECIPES[name]
    if not found.head_epochs:
        return found
    low, high = spec.head_epochs(spec.budget.epochs)
    wanted = round(_KERAS_HEAD * spec.budget.epochs) if name == "recipe_keras" else found.head_epochs
    return replace(found, head_epochs=min(max(low, wanted), high))


_KERAS_HEAD = 2 / 3
"""Share of the epochs in Keras's guide in which the head alone is trained."""


RECIPES: dict[RecipeName, Strategy] = {
    "recipe_extractor": Strategy("feature_extraction", N_CONVS, "flatten", (1000, 500, 150), 0.3, "adam", 1e-3),
    "recipe_partial": Strategy("freeze_first_k", 5, "flatten", (4096, 4096), 0.0, "sgd", 1e-3),
    "recipe_keras": Strategy(
        "two_phase", 0, "average", (), 0.0, "adam", 1e-3, head_epochs=2, rate_factor=1e-2
    ),
    "recipe_fastai": Strategy(
        "two_phase", 0, "average", (512,), 0.5, "adam", 2e-3, head_epochs=1, rate_factor=0.5,
        refinements=Refinements(layer_decay=0.01 ** (1 / (N_CONVS - 1)), weight_decay=0.01),
    ),
}  # fmt: skip
"""Recipes as strategies, run with the study's own budget and batch size, at its smallest size: the article's two for
MNIST, Keras's guide to transfer learning, and fastai's ``fine_tune``.

Extractor: dense layers 1000-500-150 on the flattened features, Adam at Keras's default rate. The article's listing
creates dropout layers of 0.3, 0.4 and 0.2 and never adds them; here the first rate is applied, as its text means. All
hidden layers are ReLU; the listing has sigmoid in the second and third.

Partial: ``model.layers[:8]`` is frozen, which is 5 convolutions. Then fc1 and fc2 of 4,096, drawn at random because the
weights without top have none. SGD at 1e-3 with Nesterov momentum 0.9.

Keras: two thirds of the epochs for the head at 1e-3, then everything at 1e-5.

fastai: one epoch of the head (one hidden layer of 512, dropout .5) at 2e-3, then all layers at half of that, the first
at a hundredth of the last, with weight decay .01. fastai spreads the rates over three groups of layers, here they fall
stage by stage; it pools by average and maximum together and augments, which is left out.

Learning rates are warmed up and decayed and the head's input is scaled, as in every trial.
"""
