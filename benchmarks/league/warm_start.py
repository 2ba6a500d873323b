"""Which arms a search should begin with: orders of trials replayed on the recorded rows of the league.

    python -m benchmarks.league.warm_start [--seeds 200] [--write]

At every place a search tries the recorded arms one after the other. All orders begin with the article's advice and end
with what is left at random, the same for all orders, once for each seed. Between them lie

- ``by size``: the frozen networks, the smallest images first and of these VGG16, as the study `images` was planned
  until 2026-11-30,
- ``by cost``: the same, the cheapest first,
- ``constants``: the arms on the front of mean accuracy and FLOPs of the other sets, the cheapest first,
- ``learned``: the arms on the front of expected accuracy and FLOPs, learned from the other sets, the cheapest first;
  the FLOPs of the probes are added,
- ``random``: nothing.

Reported is the compute until 99 % of the final hypervolume (accuracy above chance times decades of compute): the FLOPs
of all arms tried until then over those of ``by size``, geometric mean over seeds and places, with a 95 % interval over
sets. Writes benchmarks/results/warm_start.json.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.hypervolume import hypervolume
from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.strategy import VGG16
from harness.rules.arms import probed_arms
from harness.rules.expectation import learn
from harness.rules.league import Estimate
from harness.rules.outcomes import Outcomes, recorded
from harness.rules.probes import MOST_IMAGES
from harness.rules.rules import RULES
from harness.statistics.pareto import front
from harness.training.flops import prefix_cost

RESULT = Path(__file__).parent.parent / "results" / "warm_start.json"
SHARE = 0.99


def orders(outcomes: Outcomes, row: int) -> dict[str, list[int]]:
    """Return the columns of the arms that each order begins with at a place, after the advice. What is learned comes
    from the other sets."""
    past = outcomes.without(outcomes.places[row].dataset)
    expected = learn(past).expect(outcomes.probed[row]).accuracy
    flops = outcomes.flops[row]
    frozen = [i for i, arm in enumerate(outcomes.arms) if arm.kind == "feature_extraction"]
    by_cost = sorted(frozen, key=lambda i: flops[i])
    return {
        "by size": sorted(frozen, key=lambda i: (outcomes.arms[i].image_size, outcomes.arms[i].backbone != VGG16)),
        "by cost": by_cost,
        "constants": [*front(flops, -past.behind()), *by_cost],
        "learned": [*front(flops, expected), *by_cost],
        "random": [],
    }


def compute_until(
    order: Sequence[int], accuracy: NDArray[np.float64], flops: NDArray[np.float64], floor: float
) -> float:
    """Return the FLOPs of the arms tried in ``order`` until `SHARE` of the hypervolume of all is reached."""
    most = float(flops.max()) * 1.01
    whole = hypervolume(flops, accuracy, most, floor)
    tried: list[int] = []
    for arm in order:
        tried.append(arm)
        if hypervolume(flops[tried], accuracy[tried], most, floor) >= SHARE * whole:
            break
    return float(flops[tried].sum())


def probing_flops(n_images: int) -> float:
    """Return the FLOPs of the probes of so many images."""
    deepest: dict[tuple[str, int], int] = {}
    for arm in probed_arms():
        deepest[arm.backbone, arm.image_size] = max(arm.frozen, deepest.get((arm.backbone, arm.image_size), 0))
    return n_images * sum(
        prefix_cost(architecture_of(BackboneSpec.load(backbone)), size, end)
        for (backbone, size), end in deepest.items()
    )


def ratios(outcomes: Outcomes, seeds: int) -> dict[str, NDArray[np.float64]]:
    """Return for each order the logarithm of its compute over that of ``by size`` by place, the mean over seeds."""
    article = next(rule for rule in RULES if rule.name.startswith("article"))
    found: dict[str, list[float]] = defaultdict(list)
    for row, probed in enumerate(outcomes.probed):
        accuracy, flops = outcomes.accuracy[row], outcomes.flops[row]
        advice = outcomes.arms.index(article.choose(probed, outcomes))
        probing = probing_flops(min(probed.n_train, MOST_IMAGES))
        logs: dict[str, list[float]] = defaultdict(list)
        begins = orders(outcomes, row)
        for seed in range(seeds):
            others = np.random.default_rng([seed, row]).permutation(len(flops)).tolist()
            for name, begin in begins.items():
                order = list(dict.fromkeys([advice, *begin, *others]))
                spent = compute_until(order, accuracy, flops, probed.majority)
                logs[name].append(np.log(spent + (probing if name == "learned" else 0.0)))
        for name, of_seeds in logs.items():
            found[name].append(float(np.mean(of_seeds) - np.mean(logs["by size"])))
    return {name: np.array(values) for name, values in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the ratios, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/warm_start.json")
    asked = parser.parse_args(argv)
    outcomes = recorded()
    compared = outcomes.complete
    report = {}
    for name, logs in ratios(compared, asked.seeds).items():
        of_sets = Estimate.of(np.array([logs[compared.rows(one)].mean() for one in compared.datasets]))
        report[name] = {end: round(float(np.exp(getattr(of_sets, end))), 4) for end in ("mean", "low", "high")}
    result = {"places": len(compared.places), "sets": len(compared.datasets), "arms": len(compared.arms),
              "seeds": asked.seeds, "ratio": report}  # fmt: skip
    print(json.dumps(result, indent=1))
    if asked.write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
