"""What a search has to beat, on the same split, with the same clock and cost: majority, MLP, CNN, linear probe."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness.backbones.activation_cache import DiskFull
from harness.core.clock import Clock
from harness.core.cost import Spent
from harness.core.interrupts import between_steps
from harness.core.metrics import Scores
from harness.core.predictions import Predictions
from harness.core.results import BaselineName, Checkpoint, Status, TrialResult
from harness.training.baseline_networks import CNN_DROPOUT, cnn, cnn_pool, mlp
from harness.training.fit import Diverged, compile_step, fit, out_of_memory
from harness.training.flops import cnn_cost, mlp_cost, prefix_cost
from harness.training.networks import Network
from harness.training.problem import Problem
from harness.training.schedule import Schedule

_LEARNING_RATE = 1e-3
_PROBE_ITERATIONS = 1000


@between_steps()
def run_baseline(name: BaselineName, problem: Problem, *, seed: int) -> TrialResult:
    """Train and evaluate one baseline, on the study's own training and validation part. Where memory runs out it ends
    as out_of_memory, and where the disk has no room for its activations as over_budget, like a trial."""
    try:
        return _run(name, problem, seed)
    except DiskFull as error:
        return TrialResult("over_budget", 0.0, 0.0, reason=str(error))
    except Exception as error:
        if (ran_out := out_of_memory(error)) is None:
            raise
        return TrialResult.not_run("out_of_memory", ran_out, problem.spent_by_baseline(name, 0, 0.0))


def _run(name: BaselineName, problem: Problem, seed: int) -> TrialResult:
    if name == "majority":
        return _majority(problem)
    if name == "linear_probe":
        return _linear_probe(problem, seed)
    size, n_classes = problem.spec.search.baseline_size, problem.split.n_classes
    if name == "mlp":
        return _trained(name, mlp(size, n_classes), mlp_cost(size, n_classes), 0.0, problem, seed)
    flops = cnn_cost(size, n_classes, cnn_pool(size))
    return _trained(name, cnn(size, n_classes), flops, CNN_DROPOUT, problem, seed)


def _majority(problem: Problem) -> TrialResult:
    """Predict the most frequent class of the training set for every image, with the classes' shares of the set as
    probabilities."""
    split = problem.split
    with np.errstate(divide="ignore"):  # a class may have a share of 0
        logits = np.log(np.bincount(split.train.labels, minlength=split.n_classes))
    predictions = Predictions.of(np.tile(logits, (len(split.validation), 1)), split.validation.labels)
    spent = problem.spent_by_baseline("majority", 0, 0.0)
    return _result("complete", spent, **_scores(predictions), predictions=predictions)


def _trained(
    name: BaselineName, network: Network, flops_per_image: float, dropout: float, problem: Problem, seed: int
) -> TrialResult:
    """Train a network on raw images with Adam at 1e-3 and the search's own schedule."""
    epochs, clock = problem.spec.baselines.epochs, Clock()
    train, validation, _ = problem.parts(0, network.image_size, clock)
    batch_size = problem.spec.budget.batch_size_at(problem.spec.search.baseline_size)
    schedule = Schedule(epochs, batch_size, "adam", _LEARNING_RATE)
    step = compile_step(problem.steps, network, train, validation, schedule, clock)
    network.reset(seed=seed, dropout=dropout)

    def spent_after(epochs: float) -> Spent:
        return problem.spent_by_baseline(name, epochs, flops_per_image * len(train) * epochs)

    whole = spent_after(epochs)
    try:
        (end,) = fit(network, step, train, validation, schedule, clock, seed=seed, first_look=epochs)
    except Diverged as error:
        return _result("diverged", spent_after(error.epochs), whole, reason=str(error), seconds=clock.seconds())
    last = Checkpoint(
        epoch=epochs,
        **whole._asdict(),
        train_seconds=clock.seconds().train,
        train_loss=end.train_loss,
        val_loss=end.val_loss,
        **end.scores.columns(),
    )
    return _result(
        "complete",
        whole,
        **_scores(end.predictions),
        val_loss=end.val_loss,
        train_loss=end.train_loss,
        seconds=clock.seconds(),
        curve=(last,),
        predictions=end.predictions,
    )


def _linear_probe(problem: Problem, seed: int) -> TrialResult:
    """Fit a logistic regression (L2, C = 1) on standardised block-5 averages of the frozen network, of every view.

    FLOPs: the forward pass over the training part's views, and two products of features and weights for each iteration.
    """
    clock = Clock()
    size = problem.spec.search.baseline_size
    train, validation, cached = problem.parts(problem.n_stages, size, clock)
    with clock("train"):
        averages = np.concatenate([_averages(inputs) for inputs in train.views])
        labels = np.tile(train.labels, len(train.views))
        weights = None if train.weights is None else np.tile(train.weights, len(train.views))
        scaler = StandardScaler().fit(averages)
        probe = LogisticRegression(max_iter=_PROBE_ITERATIONS, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(scaler.transform(averages), labels, sample_weight=weights)
    with clock("evaluation"):
        found = probe.decision_function(scaler.transform(_averages(validation.inputs)))
        logits = np.full((len(validation), problem.split.n_classes), -np.inf)
        logits[:, probe.classes_] = found if found.ndim == 2 else np.column_stack([np.zeros_like(found), found])
        predictions = Predictions.of(logits, validation.labels)
    features, classes = probe.coef_.shape[1], problem.split.n_classes
    iterations = int(np.max(probe.n_iter_))
    flops = len(labels) * prefix_cost(problem.backbone.architecture, size)
    flops += 4.0 * len(labels) * features * classes * iterations
    return _result(
        "complete",
        problem.spent_by_baseline("linear_probe", 0, flops),
        **_scores(predictions),
        val_loss=predictions.log_loss(),
        seconds=clock.seconds(),
        features_cached=cached,
        predictions=predictions,
    )


def _result(status: Status, spent: Spent, planned: Spent | None = None, **others: Any) -> TrialResult:
    """Return the result of a baseline that has ``spent`` what was ``planned``, or less; ``others`` are its other
    fields."""
    planned = planned or spent
    return TrialResult(
        status,
        train_flops=spent.train_flops,
        planned_flops=planned.train_flops,
        rated_seconds=spent.rated_seconds,
        planned_seconds=planned.rated_seconds,
        **others,
    )


def _scores(predictions: Predictions) -> dict[str, Any]:
    return Scores.of(predictions.labels, predictions.predicted).columns() | predictions.columns()


def _averages(activations: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(activations.mean(axis=(1, 2)), np.float32)
