"""When to give up a running trial: its learning curve, forecast with optimism, against the front at equal compute.

Errors are forecast, not accuracies: from one epoch to a later one the error of most trials falls by a similar factor,
whereas the points of accuracy left to win depend on how good a trial is already. The learning rate is warmed up and
decayed to zero over the budget, so trials improve until their last epoch and only curves over the same number of epochs
are comparable.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

from harness.core.results import METRIC_NAMES, Checkpoint, Metric
from harness.statistics.pareto import best_at

ONE_IN = 10
"""Of so many comparable trials one may improve faster than forecast: the forecast is the best of nine finished trials,
the second best of nineteen, and so on. With fewer than nine it is the best of them and `steepest_fall`.

Believing five was too bold: over random orders of 16 measured trials (1,000 MNIST digits, 5 epochs) one stop in 40 was
of a trial that would have come onto the front; with nine it was one in 4,000.
"""

_CHANCE = 0.95
"""A trial is at chance level while its error is at least this share of that of guessing among the classes. One that
gives every image the same class has that balanced accuracy, and no more macro F1."""


def steepest_fall(epoch: int, later: int) -> float:
    """The factor by which the error falls from ``epoch`` to ``later`` at the very best, for want of finished trials.

    It falls with the square of the epochs, and the decay of the learning rate halves it once more. Of VGG16 on 2,000
    MNIST digits the steepest fall seen is from .226 to .025 from the first epoch to the third: a factor of .11, against
    the .06 taken here.
    """
    return 0.5 * (epoch / later) ** 2


def upper_bounds(
    curve: Sequence[Checkpoint],
    epochs: int,
    history: Sequence[Sequence[Checkpoint]],
    n_classes: int,
    metric: Metric = "accuracy",
) -> list[float]:
    """An optimistic validation score for each epoch that ``curve`` lacks of ``epochs``; never under its best so far.

    ``history`` holds curves of finished trials of the same study, also of those that were stopped. Trials still at
    chance level are a kind of their own: training from scratch often stays there for an epoch or two, and then takes
    off or never does. They are compared with trials that were at chance level after as many epochs, the stopped ones
    among them (see `_as_if_whole`); for want of these they are taken to start now, as the finished trials did.
    """
    errors = _lowest_errors(curve, metric)
    chance = _CHANCE * (1 - 1 / n_classes)
    curves = [_lowest_errors(other, metric) for other in history]
    finished = [other for other in curves if len(other) == epochs]
    alike = list(finished)
    if errors[-1] >= chance:
        stopped = (_as_if_whole(other, epochs, finished, chance) for other in curves if 0 < len(other) < epochs)
        alike += [other for other in stopped if other is not None]
    return [1 - error for error in _forecast(errors, epochs, finished, alike, chance)]


def _forecast(
    errors: Sequence[float],
    epochs: int,
    finished: Sequence[Sequence[float]],
    alike: Sequence[Sequence[float]],
    chance: float,
) -> list[float]:
    """The error after each epoch that ``errors`` lacks, from trials ``alike`` and from how the ``finished`` started."""
    now, last = len(errors), errors[-1]
    stuck = last >= chance
    comparable = [other for other in alike if other[now - 1] > 0 and (other[now - 1] >= chance) == stuck]
    forecast = []
    for later in range(now + 1, epochs + 1):
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
    """Which of the values, counted from the best, is the forecast; 0 where there are too few."""
    return (len(values) + 1) // ONE_IN


def _as_if_whole(
    errors: list[float], epochs: int, finished: Sequence[Sequence[float]], chance: float
) -> list[float] | None:
    """A stopped trial for comparison with those at chance level, None where it says nothing of them.

    If only whole trials counted, none at chance would be whole once a few had been stopped, and nothing learnt. One
    that had taken off counts as its own optimistic forecast, one at chance level after most of its epochs as never
    taking off.
    """
    if errors[-1] >= chance:
        return errors + [errors[-1]] * (epochs - len(errors)) if len(errors) > epochs / 2 else None
    if errors[0] < chance:
        return None
    return errors + _forecast(errors, epochs, finished, finished, chance)


def leads(
    curve: Sequence[Checkpoint],
    epochs: ArrayLike,
    costs: ArrayLike,
    scores: ArrayLike,
    n_classes: int,
    metric: Metric = "accuracy",
) -> bool:
    """Whether ``curve`` is above chance level and none of the checkpoints of other trials that were taken after as many
    epochs, for up to twice its compute and half of it at least, has as high a score. ``epochs``, ``costs`` (FLOPs) and
    ``scores`` are those of the checkpoints.

    Such a trial is not stopped, whatever is forecast: few have been finished that are as dear, and those that are cheap
    say little of what a slow start of it can lead to. What that costs and saves: docs/benchmarks.md.
    """
    last = curve[-1]
    score, taken = last.score(metric), np.asarray(costs, float)
    alike = (np.asarray(epochs) == last.epoch) & (taken >= last.train_flops / 2) & (taken <= 2 * last.train_flops)
    above_chance = 1 - score < _CHANCE * (1 - 1 / n_classes)
    return bool(above_chance and not np.any(np.asarray(scores, float)[alike] >= score))


def should_stop(
    curve: Sequence[Checkpoint],
    epochs: int,
    future_flops: Sequence[float],
    front_costs: ArrayLike,
    front_scores: ArrayLike,
    history: Sequence[Sequence[Checkpoint]],
    margin: float,
    n_classes: int,
    metric: Metric = "accuracy",
) -> str | None:
    """A reason in words to stop the trial with this ``curve`` (one checkpoint at least), or None to go on.

    It stops when after none of its remaining epochs, which bring its compute to ``future_flops``, the forecast plus
    ``margin`` (in the metric) exceeds what the front reaches for as much. After its last epoch, or where the front
    has nothing as cheap, there is no reason to.
    """
    bounds = upper_bounds(curve, epochs, history, n_classes, metric)
    rivals = [best_at(front_costs, front_scores, flops) for flops in future_flops]
    chances = [
        (bound - rival, bound, rival, flops) for bound, rival, flops in zip(bounds, rivals, future_flops, strict=True)
    ]
    if not chances or any(bound + margin > rival for _, bound, rival, _ in chances):
        return None
    _, bound, rival, flops = max(chances)
    return (
        f"{METRIC_NAMES[metric]} {curve[-1].score(metric):.3f} at {curve[-1].train_flops / 1e12:.3g} TFLOP; "
        f"even the optimistic forecast of {bound:.3f} at {flops / 1e12:.3g} TFLOP stays under the front's {rival:.3f}"
    )


def _lowest_errors(curve: Sequence[Checkpoint], metric: Metric) -> list[float]:
    """The lowest error up to each epoch: a dip in the score counts neither against a trial nor for others."""
    return list(accumulate((1 - point.score(metric) for point in curve), min))
