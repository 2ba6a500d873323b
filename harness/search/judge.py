"""Whether a running trial is stopped, from everything its study knows when the trial begins."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from harness.core.results import Checkpoint
from harness.core.strategy import Strategy
from harness.guidance.advice import advised
from harness.search.pruning import OtherCheckpoints, Rules, leads, should_stop
from harness.storage.store import Store
from harness.training.problem import Problem


class Judge:
    """Decides whether a running trial can still reach the front, from all curves there were when it began.

    The first of two phases is left alone: how good a head on the frozen network is says little about what follows. The
    second phase is compared with trials whose first phase was as long. What the article would advise for its scenarios
    is never stopped: by these trials the strategies are always compared. Neither is a trial that leads those of about
    its cost.
    """

    def __init__(self, store: Store, problem: Problem, number: int, strategy: Strategy) -> None:
        """Read the curves of the study's other trials; ``strategy`` is that of the trial ``number``."""
        spec, cost = problem.spec, problem.spec.search.cost_measure
        self._spared = not spec.pruning.enabled or strategy in advised(spec.search, spec.search.advice_size).values()
        self._head_epochs = strategy.head_epochs
        epochs = spec.budget.epochs
        self._costs = [cost.of(problem.spent(strategy, epoch)) for epoch in range(1, epochs + 1)]
        self._rules = Rules(epochs - self._head_epochs, problem.split.n_classes, spec.metric, spec.pruning.margin, cost)
        if self._spared:
            return
        curves = store.trials.checkpoints(spec.name)
        curves = curves[curves["number"] != number]
        columns = (curves[name].to_numpy() for name in ("epoch", cost.spent, f"val_{spec.metric}"))
        self._others = OtherCheckpoints(*columns)
        self._front = self._others.front()
        ended = store.trials.ended(spec.name, strategy.head_epochs)
        points = map(Checkpoint, *(curves[name].tolist() for name in Checkpoint.__slots__))
        by_trial = groupby(zip(curves["number"].tolist(), points, strict=True), key=itemgetter(0))
        known = ([point for _, point in curve] for other, curve in by_trial if other in ended)
        self._history = [curve[self._head_epochs :] for curve in known]

    def verdict(self, curve: Sequence[Checkpoint]) -> str | None:
        """Return a reason to stop the trial whose curve so far is ``curve``, or None."""
        if self._spared or len(curve) <= self._head_epochs or leads(curve, self._others, self._rules):
            return None
        last_phase = curve[self._head_epochs :]
        return should_stop(last_phase, self._costs[len(curve) :], self._front, self._history, self._rules)
