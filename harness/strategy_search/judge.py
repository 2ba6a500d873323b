"""Whether a running trial is stopped, from everything its study knows when the trial begins."""

from collections.abc import Sequence
from dataclasses import replace

from harness.core.results import Checkpoint
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.guidance.advice import advised
from harness.strategy_search.history import History
from harness.strategy_search.pruning import Rules, leads, should_stop
from harness.strategy_search.space import as_planned
from harness.training.problem import Problem


class Judge:
    """Decides whether a running trial can still reach the front, from all curves there were when it began.

    The first of two phases is left alone: how good a head on the frozen network is says little about what follows. The
    second phase is compared with trials whose first phase was as long, and any trial with those of as many epochs. What
    the article would advise for its scenarios is never stopped: by these trials the strategies are always compared.
    Neither is a trial that leads those of about its cost.
    """

    def __init__(self, history: History, problem: Problem, strategy: Strategy) -> None:
        """``history`` is what the study's other trials have shown; ``strategy`` is that of the trial."""
        spec, cost = problem.spec, problem.spec.search.cost_measure
        self._spared = not spec.pruning.enabled or _is_advised(strategy, spec)
        self._head_epochs = strategy.head_epochs
        epochs = spec.budget.epochs_of(strategy)
        self._costs = [cost.of(problem.spent(strategy, epoch)) for epoch in range(1, epochs + 1)]
        self._rules = Rules(epochs - self._head_epochs, problem.split.n_classes, spec.metric, spec.pruning.margin, cost)
        self._others, self._front = history.checkpoints(epochs), history.front()
        self._ended = history.ended(strategy.head_epochs, epochs)

    def verdict(self, curve: Sequence[Checkpoint]) -> str | None:
        """Return a reason to stop the trial whose curve so far is ``curve``, or None."""
        if self._spared or len(curve) <= self._head_epochs or leads(curve, self._others, self._rules):
            return None
        last_phase = curve[self._head_epochs :]
        return should_stop(last_phase, self._costs[len(curve) :], self._front, self._ended, self._rules)


def _is_advised(strategy: Strategy, spec: StudySpec) -> bool:
    """Return whether a strategy is what the article advises for one of its scenarios, at whatever size it is tried."""
    advice = advised(spec.search, strategy.image_size).get(strategy.kind)
    return advice is not None and as_planned(advice, spec) == as_planned(replace(strategy, planned_epochs=0), spec)
