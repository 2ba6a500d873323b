"""Replay searches on recorded learning curves: what pruning saves and costs, and how other methods compare.

    python -m benchmarks.replay [--trials 50] [--seeds 200] [--slow-seeds 100] [--data NAME]...

`benchmarks.curves` has trained random configurations to their end on several data sets. Here searches choose among
these, one after another and none twice. The clock is the training FLOPs that the recorded epochs cost.

Pruning is compared with no pruning on the same lists of --trials configurations, drawn without replacement. This is
exact, nothing is modelled. `harness.strategy_search.judge.Judge` itself decides, from what the search has seen so far.

Searches get as much compute as --trials configurations cost on average. The methods are: random; Hyperband (Optuna's
pruner on random draws); successive halving on the non-dominated rank of accuracy and compute, as in MO-ASHA; Optuna's
TPE alone and with its MedianPruner; the harness's plan and sampler, with and without its pruning. What a sampler
proposes is replaced by the nearest recorded configuration of the same strategy that is left. With few configurations of
a strategy this blunts the sampler's choice, so the figures say less about samplers than about stopping. Methods that
ask Optuna are slow and have a number of seeds of their own: --slow-seeds.

Best accuracies are those of trials trained to their end. The hypervolume is that of all checkpoints, accuracy over
chance times decades of compute, as a share of what all recorded configurations have together. Intervals (95 %,
Student's t) are over seeds on the same recorded curves. They say nothing about other curves.
Writes the figures to benchmarks/results/replay.json.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.curves import load, recorded_sets
from benchmarks.hypervolume import hypervolume
from benchmarks.record import machine, write
from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.cost import Spent
from harness.core.results import Checkpoint
from harness.core.spec import StudySpec
from harness.core.strategy import N_CONVS, Strategy
from harness.guidance.advice import Advice
from harness.statistics.intervals import Interval
from harness.statistics.pareto import front
from harness.storage.tickets import Planned
from harness.strategy_search.history import History
from harness.strategy_search.judge import Judge
from harness.strategy_search.plan import plan
from harness.strategy_search.sampler import MOST_SHOWN, Sampler
from harness.strategy_search.space import as_params, suggest
from harness.training.flops import trial_cost

ARCHITECTURE = architecture_of(BackboneSpec.load("vgg16"))

Steps = Iterator[tuple[int, int]]
"""What a search trains next: (recorded configuration, epoch from 1 that it is trained to)."""

SHARES = (0.1, 0.25, 0.5, 1.0)
"""Shares of the allowed compute after which the searches are compared."""

DISSIMILAR = {"mnist", "sign_digits", "chest_xray"}  # measured, datasets/similarity.json: what the advice depends on
RUNGS = (1, 3)  # epochs after which successive halving promotes one in REDUCTION
REDUCTION = 3


class Pool:
    """The configurations recorded on one data set, with what the harness asks of a problem."""

    def __init__(self, name: str, trials: int) -> None:
        self.name = name
        setting, self.recorded = load(name)
        self.trials = min(trials, len(self.recorded))
        self.spec, _ = StudySpec.load(
            "mnist",
            {
                "name": name,
                "budget.epochs": setting["epochs"],
                "budget.trials": self.trials,
                "search.image_size": setting["image_size"],
            },
        )
        self.epochs, self.classes = setting["epochs"], setting["classes"]
        n_train, n_stored = setting["train"], setting["train"] + setting["validation"]

        def cost(strategy: Strategy) -> Any:
            return trial_cost(ARCHITECTURE, strategy, self.classes, n_stored, self.spec.budget.cache_bytes)

        def spent(strategy: Strategy, epochs: float) -> Spent:
            return Spent(cost(strategy).at(n_train, epochs))

        split = SimpleNamespace(train=range(n_train), n_classes=self.classes)
        self.problem = SimpleNamespace(spec=self.spec, split=split, spent=spent)
        costs = [cost(item.strategy) for item in self.recorded]
        self.flops = np.array([[0.0, *(c.at(n_train, e) for e in range(1, self.epochs + 1))] for c in costs])
        self.accuracy = np.full(self.flops.shape, np.nan)
        for index, item in enumerate(self.recorded):
            for point in item.curve:
                self.accuracy[index, point.epoch] = point.val_accuracy
                assert np.isclose(point.train_flops, self.flops[index, point.epoch], rtol=1e-5), "another cost"
        self.most_expensive = float(self.flops.max())
        self.allowance = float(self.flops[:, -1].mean()) * self.trials
        self.best = float(np.nanmax(self.accuracy[:, -1]))
        self.volume = self.hypervolume(self.flops[:, 1:].ravel(), self.accuracy[:, 1:].ravel())
        self._places = np.array([_place(item.strategy, self.spec) for item in self.recorded])

    def hypervolume(self, flops: Any, accuracies: Any) -> float:
        """Return the area of accuracy over chance times decades of compute below the most expensive trial."""
        return hypervolume(flops, accuracies, self.most_expensive, 1 / self.classes)

    def checkpoint(self, index: int, epoch: int) -> Checkpoint | None:
        """Return the checkpoint of a configuration after ``epoch``, None if it had diverged by then."""
        curve = self.recorded[index].curve
        return curve[epoch - 1] if epoch <= len(curve) else None

    def nearest(self, strategy: Strategy, free: set[int]) -> int:
        """Return the configuration among ``free`` nearest to ``strategy``, of the same kind while there are any."""
        left = sorted(free)
        distances = np.linalg.norm(self._places[left] - _place(strategy, self.spec), axis=1)
        other = [self.recorded[index].strategy.kind != strategy.kind for index in left]
        return left[int(np.argmin(distances + 1e3 * np.array(other)))]


def _place(strategy: Strategy, spec: StudySpec) -> list[float]:
    """Return the position of a strategy in the space of its kind, each axis from 0 to 1."""
    low, high = np.log(spec.search.learning_rate[strategy.kind])
    narrow, wide = np.log(spec.search.head_width)
    widths = [(np.log(width) - narrow) / (wide - narrow) for width in strategy.head]
    return [
        strategy.frozen / N_CONVS, (np.log(strategy.learning_rate) - low) / (high - low),
        float(strategy.optimizer == "adam"), len(strategy.head) / 3, *widths, *[0.0] * (3 - len(widths)),
        strategy.dropout / spec.search.dropout[1],
    ]  # fmt: skip


class Ledger:
    """The part of a store that a search's `History` and `plan` use: the trials of one replayed search."""

    def __init__(self) -> None:
        self.trials = self.tickets = self  # parts of a store
        self._curves: dict[int, list[Checkpoint]] = {}
        self._rows: list[dict[str, Any]] = []
        self.plan: list[Planned] = []

    def end_trial(self, number: int, status: str, strategy: Strategy, curve: list[Checkpoint]) -> None:
        """Record trial ``number``."""
        last = curve[-1] if curve else None
        self._curves[number] = curve
        self._rows.append({
            "number": number, "status": status, **strategy.as_row(), "device": "", "sampler_notes": {},
            "val_accuracy": last and last.val_accuracy, "train_flops": last and last.train_flops,
        })  # fmt: skip

    def since(self, _: str, first: int) -> list[dict[str, Any]]:
        """As `harness.storage.trials.Trials.since`."""
        return self._rows[first:]

    def curves(self, _: str, first: int) -> dict[int, list[Checkpoint]]:
        """As `harness.storage.trials.Trials.curves`."""
        return {number: self._curves[number] for number in range(first, len(self._rows))}

    def one_at_a_time(self) -> AbstractContextManager[None]:
        """Do nothing: there is one process only."""
        return nullcontext()

    def planned(self, _: str) -> list[Planned]:
        """As `harness.storage.tickets.Tickets.planned`."""
        return self.plan

    def add(self, _: str, trials: Sequence[Planned]) -> None:
        """As `harness.storage.tickets.Tickets.add`."""
        self.plan += trials


class Judged:
    """Runs configurations as a worker does: each to its end, unless the harness's pruning stops it."""

    def __init__(self, pool: Pool, *, pruning: bool) -> None:
        pruned = pool.spec.pruning.model_copy(update={"enabled": pruning})
        spec = pool.spec.model_copy(update={"pruning": pruned})
        self._pool, self._ledger = pool, Ledger()
        self._problem = cast(Any, SimpleNamespace(**{**vars(pool.problem), "spec": spec}))
        self.history = History(cast(Any, self._ledger), spec)
        self._begun = 0

    def run(self, index: int) -> Steps:
        """Yield the epochs of one configuration."""
        pool, number, strategy = self._pool, self._begun, self._pool.recorded[index].strategy
        self._begun += 1
        judge = Judge(self.history, self._problem, strategy)
        curve: list[Checkpoint] = []
        status = "complete"
        for epoch in range(1, pool.epochs + 1):
            yield index, epoch
            point = pool.checkpoint(index, epoch)
            if point is None:
                status = "diverged"
                break
            curve.append(point)
            if judge.verdict(curve) is not None and epoch < pool.epochs:
                status = "pruned"
                break
        self._ledger.end_trial(number, status, strategy, curve)
        self.history.read()


def in_order(pool: Pool, order: Sequence[int], *, pruning: bool) -> Steps:
    """Run one configuration after another."""
    judged = Judged(pool, pruning=pruning)
    for index in order:
        yield from judged.run(index)


def at_random(pool: Pool, seed: int) -> Steps:
    """Run a random search without pruning."""
    return in_order(pool, shuffled(pool, seed), pruning=False)


def at_random_pruned(pool: Pool, seed: int) -> Steps:
    """Run a random search with the harness's pruning."""
    return in_order(pool, shuffled(pool, seed), pruning=True)


def halving(pool: Pool, seed: int) -> Steps:
    """Run asynchronous successive halving in one process.

    The best third of the configurations that have reached a rung goes on to the next, the highest rung first. They are
    ordered by the non-dominated rank of accuracy and compute, and by accuracy within a rank. If none can go on, a new
    configuration begins. Once there is no new one, the best of the rest goes on.
    """
    new = shuffled(pool, seed)[::-1]
    rungs = (*RUNGS, pool.epochs)
    reached: list[list[int]] = [[] for _ in rungs]
    promoted: list[set[int]] = [set() for _ in rungs]

    def train(index: int, rung: int) -> Steps:
        for epoch in range((0, *rungs)[rung] + 1, rungs[rung] + 1):
            yield index, epoch
            if pool.checkpoint(index, epoch) is None:
                return
        reached[rung].append(index)

    def promotable(rung: int, count: int) -> int | None:
        chosen = _by_rank(pool, reached[rung], rungs[rung])[:count]
        return next((index for index in chosen if index not in promoted[rung]), None)

    while True:
        for rung in reversed(range(len(RUNGS))):
            count = len(reached[rung]) // REDUCTION if new else len(reached[rung])
            if (index := promotable(rung, count)) is not None:
                promoted[rung].add(index)
                yield from train(index, rung + 1)
                break
        else:
            if not new:
                return
            yield from train(new.pop(), 0)


def _by_rank(pool: Pool, indices: Sequence[int], epoch: int) -> list[int]:
    left, ordered = list(indices), []
    while left:
        best = [left[i] for i in front(pool.flops[left, epoch], pool.accuracy[left, epoch])]
        ordered += sorted(best, key=lambda index: -pool.accuracy[index, epoch])
        left = [index for index in left if index not in best]
    return ordered


def shuffled(pool: Pool, seed: int) -> list[int]:
    """Return the configurations in an order that ``seed`` draws."""
    return [int(index) for index in np.random.default_rng(seed).permutation(len(pool.recorded))]


def _optuna(pool: Pool, seed: int, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner) -> Steps:
    """Run a single-objective study of Optuna: accuracy, reported after every epoch."""
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner, study_name=f"replay {seed}")
    free = set(range(len(pool.recorded)))
    while free:
        trial, index = _propose(study, pool, free)
        for epoch in range(1, pool.epochs + 1):
            yield index, epoch
            point = pool.checkpoint(index, epoch)
            if point is None:
                study.tell(trial, state=TrialState.FAIL)
                break
            trial.report(point.val_accuracy, epoch)
            if epoch == pool.epochs:
                study.tell(trial, point.val_accuracy)
            elif trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break


def _propose(study: optuna.Study, pool: Pool, free: set[int]) -> tuple[optuna.Trial, int]:
    """Ask the study's sampler, start a trial of the nearest configuration and take that from ``free``."""
    proposal = study.ask()
    index = pool.nearest(suggest(proposal, pool.spec), free)
    study.tell(proposal, state=TrialState.FAIL)  # no sampler learns from it
    free.remove(index)
    sampler, study.sampler = study.sampler, optuna.samplers.RandomSampler()  # not asked: all is given
    study.enqueue_trial(as_params(pool.recorded[index].strategy, pool.spec))
    trial = study.ask()
    suggest(trial, pool.spec)
    study.sampler = sampler
    return trial, index


def hyperband(pool: Pool, seed: int) -> Steps:
    """Run Optuna's HyperbandPruner on random draws."""
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=pool.epochs, reduction_factor=REDUCTION)
    return _optuna(pool, seed, optuna.samplers.RandomSampler(seed), pruner)


def tpe(pool: Pool, seed: int) -> Steps:
    """Run Optuna's TPE with its defaults and no pruner."""
    return _optuna(pool, seed, optuna.samplers.TPESampler(seed=seed), optuna.pruners.NopPruner())


def tpe_median(pool: Pool, seed: int) -> Steps:
    """Run Optuna's TPE and MedianPruner with their defaults."""
    return _optuna(pool, seed, optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner())


def _harness(pool: Pool, seed: int, *, pruning: bool, most_shown: int = MOST_SHOWN) -> Steps:
    """Run the harness's plan, then its sampler while configurations are left."""
    scenario = 2 if pool.name in DISSIMILAR else 1
    planned = Ledger()
    plan(cast(Any, planned), pool.spec, Advice.of(scenario, "", pool.spec.search))
    judged = Judged(pool, pruning=pruning)
    sampler = Sampler(pool.spec.model_copy(update={"seed": seed}), most_shown)
    free = set(range(len(pool.recorded)))
    for number in range(len(pool.recorded)):
        fixed = planned.plan[number].params if number < len(planned.plan) else {}
        strategy, _, _ = sampler.draw(number, fixed, judged.history)
        index = pool.nearest(strategy, free)
        free.remove(index)
        yield from judged.run(index)


def harness(pool: Pool, seed: int) -> Steps:
    """Run the harness's search."""
    return _harness(pool, seed, pruning=True)


def harness_unpruned(pool: Pool, seed: int) -> Steps:
    """Run the harness's search without pruning."""
    return _harness(pool, seed, pruning=False)


FAST: dict[str, Callable[[Pool, int], Steps]] = {
    "random": at_random, "random, our pruning": at_random_pruned, "MO-ASHA-like": halving,
}  # fmt: skip
SLOW: dict[str, Callable[[Pool, int], Steps]] = {
    "Hyperband": hyperband, "TPE": tpe, "TPE, MedianPruner": tpe_median, "harness, no pruning": harness_unpruned,
    "harness": harness,
}  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """A replayed search after each epoch that it trained.

    ``spent`` is the compute, ``best`` the best accuracy of a whole trial (chance before there is one), ``volume`` the
    hypervolume as a share of the pool's, and ``whole`` the number of whole trials.
    """

    spent: list[float]
    best: list[float]
    volume: list[float]
    whole: int

    def at(self, flops: float) -> tuple[float, float]:
        """Return best accuracy and hypervolume for as much compute or less."""
        last = int(np.searchsorted(self.spent, flops * (1 + 1e-9), side="right")) - 1
        return (self.best[last], self.volume[last])


def follow(pool: Pool, steps: Steps, allowance: float = float("inf")) -> Trace:
    """Train what the search asks for until it ends or has spent its ``allowance`` in FLOPs."""
    spent, best, whole = 0.0, 1 / pool.classes, 0
    trace = Trace([0.0], [best], [0.0], 0)
    costs: list[float] = []
    scores: list[float] = []
    for index, epoch in steps:
        spent += pool.flops[index, epoch] - pool.flops[index, epoch - 1]
        if spent > allowance * (1 + 1e-9):
            break
        score = pool.accuracy[index, epoch]
        if not np.isnan(score):
            costs.append(pool.flops[index, epoch])
            scores.append(score)
            if epoch == pool.epochs:
                best, whole = max(best, score), whole + 1
            on = front(costs, scores)  # a beaten point stays beaten
            costs, scores = [costs[i] for i in on], [scores[i] for i in on]
        trace.spent.append(spent)
        trace.best.append(best)
        trace.volume.append(pool.hypervolume(costs, scores) / pool.volume)
    return Trace(trace.spent, trace.best, trace.volume, whole)


def pruning(pool: Pool, seeds: int) -> dict[str, Any]:
    """Compare the same lists of trials with and without the harness's pruning."""
    rows = []
    for seed in range(seeds):
        order = shuffled(pool, seed)[: pool.trials]
        off = follow(pool, in_order(pool, order, pruning=False))
        on = follow(pool, in_order(pool, order, pruning=True))
        rows.append(
            {
                "flops_ratio": on.spent[-1] / off.spent[-1],
                "accuracy_points": 100 * (on.best[-1] - off.best[-1]),
                "hypervolume_ratio": on.volume[-1] / off.volume[-1],
                "trials_whole": on.whole,
            }
        )
    figures = {name: figure([row[name] for row in rows]) for name in rows[0]}
    lost = float(np.mean([row["accuracy_points"] < -0.3 for row in rows]))
    return {"trials": pool.trials, "lists": seeds, **figures, "lists_that_lost_over_0.3_points": lost}


def searches(pool: Pool, method: Callable[[Pool, int], Steps], seeds: int) -> dict[str, Any]:
    """Summarize ``seeds`` searches of one method."""
    traces = [follow(pool, method(pool, seed), pool.allowance) for seed in range(seeds)]
    looks: dict[str, Any] = {}
    for share in SHARES:
        found = [trace.at(share * pool.allowance) for trace in traces]
        looks[f"{share:g}"] = {
            "regret_points": figure([100 * (pool.best - best) for best, _ in found]),
            "hypervolume": figure([volume for _, volume in found]),
        }
    reached = [_reached(trace, pool.allowance) for trace in traces]
    there = float(np.mean(np.isfinite(reached)))
    middle = median(reached)
    return {
        "searches": seeds,
        "at_share_of_compute": looks,
        "to_99_percent_of_hypervolume": {"median_share": middle if there > 0.5 else None, "reached": there},
    }


def _reached(trace: Trace, allowance: float) -> float:
    enough = np.flatnonzero(np.array(trace.volume) >= 0.99)
    return trace.spent[enough[0]] / allowance if len(enough) else float("inf")


def figure(values: Sequence[float]) -> dict[str, Any]:
    return {**asdict(Interval.of(values)), "spread": float(np.std(values, ddof=1))}


def _replay(name: str, asked: tuple[int, int, int]) -> dict[str, Any]:
    """Replay everything on one data set; ``asked`` are trials, seeds and slow seeds."""
    trials, seeds, slow_seeds = asked
    pool = Pool(name, trials)
    print(
        f"{name}: {len(pool.recorded)} configurations, best {pool.best:.3f}, {pool.trials} trials a search", flush=True
    )
    ablation = pruning(pool, seeds)
    shown = ", ".join(
        f"{figure} {ablation[figure]['mean']:.3g} ({ablation[figure]['low']:.3g} to {ablation[figure]['high']:.3g})"
        for figure in ("flops_ratio", "accuracy_points", "hypervolume_ratio", "trials_whole")
    )
    print(f"{name}, pruning, {seeds} lists: {shown}", flush=True)
    methods = {}
    for method, steps in (FAST | SLOW).items():
        count = slow_seeds if method in SLOW else seeds
        methods[method] = searches(pool, steps, count)
        looks = methods[method]["at_share_of_compute"].values()
        regrets = " ".join(f"{look['regret_points']['mean']:5.2f}" for look in looks)
        volumes = " ".join(f"{look['hypervolume']['mean']:.3f}" for look in looks)
        share = methods[method]["to_99_percent_of_hypervolume"]["median_share"]
        enough = "not reached" if share is None else f"{share:.2f}"
        print(f"{name:10} {method:20} n={count:3d} regret {regrets}  hypervolume {volumes}  99 % {enough}", flush=True)
    return {
        "configurations": len(pool.recorded), "best_accuracy": pool.best, "allowance_tflop": pool.allowance / 1e12,
        "pruning": ablation, "searches": methods,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Replay, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=200, help="two at least")
    parser.add_argument("--slow-seeds", type=int, default=100, help="of methods that ask Optuna")
    parser.add_argument("--data", action="append", choices=recorded_sets(), help="default: all that are recorded")
    arguments = parser.parse_args(argv)
    names = arguments.data or recorded_sets()
    asked = (arguments.trials, arguments.seeds, arguments.slow_seeds)
    with ProcessPoolExecutor() as processes:
        result = dict(zip(names, processes.map(partial(_replay, asked=asked), names), strict=True))
    write("replay", {"machine": machine(), "shares": SHARES, "sets": result})


if __name__ == "__main__":
    main()
