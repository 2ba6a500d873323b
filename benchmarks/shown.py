"""Replay searches on recorded learning curves whose sampler is shown fewer trials than there are.

    python -m benchmarks.shown [--history 96] [--copies 4] [--trials 2] [--seeds 200] [--most 100 200] [--data NAME]...

What `harness.strategy_search.sampler.choose` shows Optuna's sampler is a part of a long history. The recorded sets
hold too few configurations for such a one: a history of --history random configurations is run with the harness's
pruning, and the sampler is told each of its trials --copies times. Then the search goes on with as much compute as
--trials configurations cost: with the sampler shown all trials, with each number of --most, and without a sampler, at
random. `choose` decides as in a search.

Regret and hypervolume are those of `benchmarks.replay`. Differences are paired by seed, which decides the history: a
search that is shown a part minus that which is shown all. Intervals (95 %, Student's t) are over seeds on the same
recorded curves. Writes the figures to benchmarks/results/shown.json after each set.
"""

import argparse
import copy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.curves import recorded_sets
from benchmarks.record import machine, write
from benchmarks.replay import Judged, Pool, Steps, Trace, figure, follow, shuffled
from harness.statistics.intervals import Interval
from harness.strategy_search.history import History
from harness.strategy_search.sampler import Sampler

SHARES = (0.25, 0.5, 1.0)
"""Shares of the compute after the history at which searches are compared."""

ALL, RANDOM = "all", "random"


def compare(pool: Pool, asked: argparse.Namespace) -> dict[str, Any]:
    """Return regret and hypervolume of the searches that are shown all trials, of those that are shown fewer and of
    random ones, with their differences from the first."""
    most = {ALL: sys.maxsize, **{str(shown): shown for shown in asked.most}, RANDOM: 0}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in most}
    extra = pool.flops[:, -1].mean() * asked.trials
    for seed in range(asked.seeds):
        order = shuffled(pool, seed)
        judged = Judged(pool, pruning=True)
        history = [step for index in order[: asked.history] for step in judged.run(index)]
        spent = sum(pool.flops[index, epoch] - pool.flops[index, epoch - 1] for index, epoch in history)
        for way, shown in most.items():
            again, left = copy.deepcopy(judged, {id(pool): pool}), order[asked.history :]
            more = proposed(pool, again, left, seed, shown, asked.copies) if shown else at_random(again, left)
            trace = follow(pool, chain(history, more), spent + extra)
            found[way].append(looks(pool, trace, spent, extra) | {"epochs": len(trace.spent) - 1.0 - len(history)})
        if (seed + 1) % 20 == 0:
            print(f"{pool.name}: {seed + 1} of {asked.seeds} seeds", flush=True)
    return {
        way: {
            name: {
                "value": figure([row[name] for row in rows]),
                "minus all": asdict(
                    Interval.of([of[name] - all_[name] for of, all_ in zip(rows, found[ALL], strict=True)])
                ),
            }
            for name in rows[0]
        }
        for way, rows in found.items()
    }


def proposed(pool: Pool, judged: Judged, left: Sequence[int], seed: int, most_shown: int, copies: int) -> Steps:
    """Run what the sampler proposes of the configurations that are ``left``."""
    sampler = Sampler(pool.spec.model_copy(update={"seed": seed}), most_shown)
    free = set(left)
    begun = len(judged.history.finished)
    for number in range(copies * begun, copies * begun + len(left)):
        strategy, _, _ = sampler.draw(number, {}, repeated(judged.history, begun, copies))
        index = pool.nearest(strategy, free)
        free.remove(index)
        yield from judged.run(index)


def repeated(history: History, first: int, copies: int) -> History:
    """Return the history with its ``first`` trials told ``copies`` times before the others."""
    told = [replace(past, number=past.number + (copies - 1) * first) for past in history.finished.values()]
    for copy_ in range(copies - 1):
        told += [replace(history.finished[number], number=number + copy_ * first) for number in range(first)]
    return cast(History, SimpleNamespace(finished={past.number: past for past in told}, running={}))


def at_random(judged: Judged, left: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Run the configurations that are ``left`` in their order."""
    for index in left:
        yield from judged.run(index)


def looks(pool: Pool, trace: Trace, spent: float, extra: float) -> dict[str, float]:
    """Return regret in points and hypervolume at each of `SHARES` of the ``extra`` compute."""
    found = {}
    for share in SHARES:
        best, volume = trace.at(spent + share * extra)
        found[f"regret_points at {share:g}"] = float(100 * (pool.best - best))
        found[f"hypervolume at {share:g}"] = float(volume)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Replay, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=int, default=96)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=200, help="two at least")
    parser.add_argument("--most", type=int, nargs="+", default=[100, 200], help="shown at most; 11 at least")
    parser.add_argument("--data", action="append", choices=recorded_sets(), help="default: all that are recorded")
    asked = parser.parse_args(argv)
    sets = {}
    for name in asked.data or recorded_sets():
        sets[name] = compare(Pool(name, asked.history), asked)
        for way, measures in sets[name].items():
            for measure, of in measures.items():
                minus = of["minus all"]
                print(
                    f"{name:8} {way:6} {measure:22} {of['value']['mean']:8.3f}, minus all {minus['mean']:+.4f} "
                    f"({minus['low']:+.4f} to {minus['high']:+.4f})",
                    flush=True,
                )
        write("shown", {"machine": machine(), **vars(asked), "sets": sets})


if __name__ == "__main__":
    main()
