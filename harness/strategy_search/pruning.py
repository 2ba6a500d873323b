"""When to stop a running trial: its learning curve, forecast with optimism, against the front at equal compute.

Errors are forecast, not accuracies: from one epoch to a later one the error of most trials falls by a similar factor,
whereas the points of accuracy left to win depend on how good a trial is already. The learning rate is warmed up and
decayed to zero over the budget, so trials improve until their last epoch and only curves over the same number of epochs
are comparable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from harness.core.cost import FLOPS, CostMeasure
from harness.core.results import METRIC_NAMES, Checkpoint, Metric
from harness.statistics.pareto import best_at, front

BEST_ONE_IN = 10
"""The forecast is the 90th percentile of the improvement of comparable trials: the best of nine finished trials, the
second best of nineteen. With fewer than nine it is the best of them and `steepest_fall`.

Over random orders of 16 measured trials (1,000 MNIST digits, 5 epochs) one stop in 40 was of a trial that would have
come onto the front when five trials were enough, and one in 4,000 with nine.
"""

_CHANCE = 0.95
"""A trial is at chance level while its error is at least this share of the error of guessing among the classes. A trial
that gives every image the same class has that balanced accuracy, and no more macro F1."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the trials of a study are judged by: ``epochs`` of a whole trial, number of classes, metric, the ``margin``
    (in the metric) by which a forecast may stay under the front, and the measure of compute."""

    epochs: int
    n_classes: int
    metric: Metric = "accuracy"
    margin: float = 0.0
    cost: CostMeasure = FLOPS

    @property
    def chance_error(self) -> float:
        """The error from which on a trial counts as guessing."""
        return _CHANCE * (1 - 1 / self.n_classes)


@dataclass(frozen=True, slots=True)
class OtherCheckpoints:
    """The checkpoints of a study's other trials: arrays (n,) of epochs, costs and scores."""

    epochs: NDArray[np.int64]
    costs: NDArray[np.float64]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, points: Sequence[tuple[int, float, float]]) -> "OtherCheckpoints":
        """Return the checkpoints of these epochs, costs and scores."""
        epochs, costs, scores = zip(*points, strict=True) if points else ((), (), ())
        return cls(np.array(epochs, np.int64), np.array(costs, np.float64), np.array(scores, np.float64))

    def __add__(self, others: "OtherCheckpoints") -> "OtherCheckpoints":
        """Return these and ``others``."""
        return OtherCheckpoints(
            np.concatenate([self.epochs, others.epochs]),
            np.concatenate([self.costs, others.costs]),
            np.concatenate([self.scores, others.scores]),
        )

    def front(self) -> "OtherCheckpoints":
        """Return those that no other beats in both cost and score."""
        best = front(self.costs, self.scores)
        return OtherCheckpoints(self.epochs[best], self.costs[best], self.scores[best])


def steepest_fall(epoch: int, later: int) -> float:
    """Return the factor by which the error falls from ``epoch`` to ``later`` at best, for use with few finished trials.

    It falls with the square of the epochs, and the decay of the learning rate halves it once more. Of VGG16 on 2,000
    MNIST digits the steepest fall seen is from .226 to .025 from the first epoch to the third: a factor of .11, against
    the .06 taken here.
    """
    return 0.5 * (epoch / later) ** 2


def upper_bounds(curve: Sequence[Checkpoint], history: Sequence[Sequence[float]], rules: Rules) -> list[float]:
    """Return an optimistic validation score for each epoch that ``curve`` lacks; never under its best so far.

    ``history`` holds the `lowest_errors` of ended trials of the same study, stopped ones included. Trials still at
    chance level are a kind of their own: training from scratch often stays there for an epoch or two, and then takes
    off or never does. They are compared with trials that were at chance level after as many epochs, the stopped ones
    among them (see `_completed`). Without any of these they are taken to start now, as the finished trials did.
    """
    errors = lowest_errors(curve, rules.metric)
    finished = [other for other in history if len(other) == rules.epochs]
    comparable = list(finished)
    if errors[-1] >= rules.chance_error:
        stopped = (_completed(other, finished, rules) for other in history if 0 < len(other) < rules.epochs)
        comparable += [other for other in stopped if other is not None]
    return [1 - error for error in _forecast(errors, finished, comparable, rules)]


def _forecast(
    errors: Sequence[float], finished: Sequence[Sequence[float]], comparable: Sequence[Sequence[float]], rules: Rules
) -> list[float]:
    """Return the error after each epoch that ``errors`` lacks, from ``comparable`` trials and from how the ``finished``
    ones started."""
    now, last = len(errors), errors[-1]
    stuck = last >= rules.chance_error
    comparable = [
        other for other in comparable if other[now - 1] > 0 and (other[now - 1] >= rules.chance_error) == stuck
    ]
    forecast = []
    for later in range(now + 1, rules.epochs + 1):
        falls = sorted(other[later - 1] / other[now - 1] for other in comparable)
        starts = sorted(other[later - now - 1] / last for other in finished) if stuck else []
        if rank := _rank(falls):
            fall = falls[rank - 1]
        elif rank := _rank(starts):
            fall = min([1.0, starts[rank - 1], *falls])
        else:
            fall = min([steepest_fall(1, later - now + 1) if stuck else steepest_fall(now, later), *falls])
        forecast.append(last * fall)
    return forecast


def _rank(values: Sequence[float]) -> int:
    """Return which of the values, counted from the best, is the forecast; 0 where there are too few."""
    return (len(values) + 1) // BEST_ONE_IN


def _completed(errors: Sequence[float], finished: Sequence[Sequence[float]], rules: Rules) -> Sequence[float] | None:
    """Extend a stopped trial to all epochs, for comparison with trials at chance level; None where it says nothing.

    If only whole trials counted, none at chance level would be whole once a few had been stopped, and nothing would be
    learnt. A trial that had taken off counts as its own optimistic forecast, a trial at chance level after most of its
    epochs as never taking off.
    """
    if errors[-1] >= rules.chance_error:
        missing = rules.epochs - len(errors)
        return [*errors, *[errors[-1]] * missing] if len(errors) > rules.epochs / 2 else None
    if errors[0] < rules.chance_error:
        return None
    return [*errors, *_forecast(errors, finished, finished, rules)]


def leads(curve: Sequence[Checkpoint], others: OtherCheckpoints, rules: Rules) -> bool:
    """Tell whether ``curve`` is the best so far among the trials of about its cost.

    That is: it is above chance level, and no checkpoint of another trial has as high a score after as many epochs, for
    half to twice its compute. Such a trial is not stopped, whatever is forecast: few trials as expensive have been
    finished, and cheap ones say little of what a slow start can lead to. docs/notes/pruning.md has what this costs.
    """
    last = curve[-1]
    score, cost = last.score(rules.metric), rules.cost.of(last)
    alike = (others.epochs == last.epoch) & (others.costs >= cost / 2) & (others.costs <= 2 * cost)
    return bool(1 - score < rules.chance_error and not np.any(others.scores[alike] >= score))


def should_stop(
    curve: Sequence[Checkpoint],
    future_costs: Sequence[float],
    others: OtherCheckpoints,
    history: Sequence[Sequence[float]],
    rules: Rules,
) -> str | None:
    """Return a reason in words to stop the trial with this ``curve`` (one checkpoint at least), or None to go on.

    A trial stops when after none of its remaining epochs, which bring its compute to ``future_costs``, the forecast
    plus the margin exceeds what the ``others`` reach for as much. It goes on after its last epoch, and where no other
    trial is as cheap.
    """
    bounds = upper_bounds(curve, history, rules)
    rivals = [best_at(others.costs, others.scores, cost) for cost in future_costs]
    chances = [
        (bound - rival, bound, rival, cost) for bound, rival, cost in zip(bounds, rivals, future_costs, strict=True)
    ]
    if not chances or any(bound + rules.margin > rival for _, bound, rival, _ in chances):
        return None
    _, bound, rival, cost = max(chances)
    score, so_far = curve[-1].score(rules.metric), rules.cost.of(curve[-1])
    return (
        f"{METRIC_NAMES[rules.metric]} {score:.3f} at {rules.cost.in_words(so_far)}; even the optimistic forecast of "
        f"{bound:.3f} at {rules.cost.in_words(cost)} stays under the front's {rival:.3f}"
    )


def lowest_errors(curve: Sequence[Checkpoint], metric: Metric) -> list[float]:
    """Return the lowest error up to each epoch: a dip in the score counts neither against a trial nor for others."""
    return list(accumulate((1 - point.score(metric) for point in curve), min))
