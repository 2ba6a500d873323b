"""What a whole trial of each strategy of a study would cost, before anything is run."""

from typing import NamedTuple

from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.strategy import N_CONVS, Strategy
from harness.data.dataset import draw
from harness.training.flops import trial_cost


class PredictedCost(NamedTuple):
    """The training FLOPs of a whole trial of ``strategy``; of ``total``, ``frozen`` are spent once, in frozen layers
    whose output is cached."""

    strategy: str
    frozen: float
    total: float


def predict_costs(spec: StudySpec, dataset: DatasetSpec) -> tuple[int, list[PredictedCost]]:
    """Return the number of training images, and what a whole trial of each strategy of ``spec`` would cost on them.

    The classifier has no hidden layer. Lists the data set's images, so that a study that cannot be run is refused: it
    raises DataError where the images do not allow the split.
    """
    drawn = draw(dataset, spec.data, spec.seed)
    n_train, n_classes = len(drawn.parts.train), len(drawn.listing.class_names)
    n_stored = spec.data.views * n_train + len(drawn.parts.validation)

    def predict(strategy: Strategy, backbone: BackboneSpec) -> PredictedCost:
        architecture = architecture_of(backbone)
        cost = trial_cost(architecture, strategy, n_classes, n_stored, spec.budget.cache_bytes, spec.data.views)
        frozen = cost.prefix + (cost.then.prefix if cost.then else 0)
        return PredictedCost(strategy.place(), frozen * n_train, cost.at(n_train, spec.budget.epochs))

    strategies = [
        Strategy("feature_extraction", N_CONVS, "average", (), 0.0, "adam", 1e-3),
        *(Strategy("freeze_first_k", k, "average", (), 0.0, "adam", 1e-4) for k in (10, 7, 5, 2)),
        Strategy("fine_tune_all", 0, "average", (), 0.0, "adam", 1e-4),
        Strategy("from_scratch", 0, "average", (), 0.0, "adam", 1e-4),
        *(
            Strategy("two_phase", k, "average", (), 0.0, "adam", 1e-2, spec.head_epochs(spec.budget.epochs)[0], 0.1)
            for k in (10, 7, 5, 0)
        ),
    ]
    searched = [strategy for strategy in strategies if strategy.kind in spec.search.strategies]
    return n_train, [
        predict(strategy.on(backbone, size), backbone)
        for backbone in spec.search.backbones
        for size in spec.search.image_size
        for strategy in searched
    ]
