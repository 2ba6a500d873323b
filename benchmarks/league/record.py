"""Record what each way of reusing a network reaches on many small data sets: the rows of the league.

    python -m benchmarks.league.record SET... [--seeds 1] [--minutes 60]

Each SET is a data set as for `harness.run --data`. How similar it is to ImageNet goes to benchmarks/league/sets.json.
Per set, number of training images and seed (of split, order and training) every arm of `benchmarks.league.arms` is
trained once, to its end, and its curve, FLOPs and seconds are appended to benchmarks/league/rows/SET.jsonl. A third of
a set's images, 300 at most, are for validation; test parts are not touched. Fewer training images are a part of more,
in the shares of all classes. Rows that are there are not recorded again: stop the recording at any time and run it
again, with more sets or seeds too. Cheap arms of all sets come first, so that a part of a recording covers all sets.
The seconds depend on what else the machine did; the FLOPs are calculated and do not.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.curves import as_row
from benchmarks.record import append_row, rows_of
from harness.backbones import devices
from harness.backbones.activation_cache import FeatureCache
from harness.backbones.backbone import Backbone
from harness.backbones.weights import load_weights
from harness.core import environment
from harness.core.backbone import BackboneSpec
from harness.core.paths import user_cache
from harness.core.search_space import SearchSpace
from harness.core.spec import Budget, DatasetSpec, DataSpec, Pruning, StudySpec
from harness.core.strategy import ARTICLE_KINDS, Strategy
from harness.data.dataset import Drawn, draw_listed
from harness.data.sources import read_listing
from harness.guidance.measure import measure_similarity
from harness.rules.arms import BATCH_SIZE, EPOCHS, waves
from harness.rules.outcomes import ROWS, Place
from harness.statistics.similarity import SAMPLE, load_reference
from harness.training import fit
from harness.training.fit import Steps
from harness.training.networks import Networks
from harness.training.problem import Problem, set_precision
from harness.training.trial import run_trial
from harness.workers.atlas_cells import nested

SETS = Path(__file__).parent / "sets.json"
COUNTS = (100, 1000, 250, 600)
"""Numbers of training images; a set that has fewer than the largest number is used whole in its place."""
_VALIDATION_SHARE = 3
_MOST_VALIDATION = 300
_CACHE_BYTES = 8 * 10**9


def available(n_train: int, there: int) -> int | None:
    """Return with how many training images a set that has so many ``there`` is recorded for one of `COUNTS`; None where
    it is not."""
    return min(n_train, there) if n_train < there or n_train == max(COUNTS) else None


def record(dataset: DatasetSpec, n_train: int, seed: int, arms: Sequence[Strategy], until: float) -> None:
    """Train the ``arms`` that a place lacks and append their rows to the set's file, until a time of
    `time.monotonic`. Numbers of images that the set does not have are left out."""
    whole = drawn_for(dataset, seed)
    n = available(n_train, len(whole.parts.train))
    if n is None:
        return
    place = Place(dataset.name, n, seed)
    done = set(recorded(dataset.name))
    lacking = [arm for arm in arms if (place, arm) not in done]
    machine = environment.describe(devices.device())
    for arm in lacking:
        if time.monotonic() > until:
            return
        problem = problem_for(dataset, place, arm)
        start = time.perf_counter()
        result = run_trial(arm, problem, seed=seed, on_checkpoint=lambda _: None)
        seconds = time.perf_counter() - start
        row = {
            **{name: getattr(place, name) for name in Place.__slots__},
            "n_validation": len(problem.split.validation), "classes": problem.split.n_classes,
            "majority": round(problem.split.majority_share(), 4), **as_row(arm, result, seconds),
            "precision": problem.spec.budget.precision, "device": machine.device, "commit": machine.commit[:7],
        }  # fmt: skip
        append_row(ROWS / f"{dataset.name}.jsonl", row)
        reached = result.reason if result.val_accuracy is None else f"{result.val_accuracy:.3f}"
        print(f"{place.dataset} {place.n_train} seed {seed} {arm.label()}: {reached} ({seconds:.1f} s)", flush=True)


def recorded(dataset: str) -> Iterator[tuple[Place, Strategy]]:
    """Yield the places and arms of the rows of a set."""
    for row in rows(dataset):
        yield Place(*(row[name] for name in Place.__slots__)), Strategy.from_row(row["strategy"])


def rows(dataset: str) -> list[dict[str, Any]]:
    """Return the recorded rows of a set, none where there is no file."""
    return rows_of(ROWS / f"{dataset}.jsonl")


def profile(dataset: DatasetSpec) -> None:
    """Measure how similar a set is to ImageNet, unless that is recorded."""
    known = json.loads(SETS.read_text(encoding="utf-8")) if SETS.exists() else {}
    if dataset.name not in known:
        whole = drawn_for(dataset, 0)
        sample = whole.some(SAMPLE, load_reference().image_size)
        found = measure_similarity(sample, None, _CACHE_BYTES)
        known[dataset.name] = {
            "classes": len(whole.listing.class_names), "n_train": len(whole.parts.train),
            "distance": round(found.distance, 5), "error": round(found.error, 5),
        }  # fmt: skip
        SETS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


def _spec(dataset: DatasetSpec, arm: Strategy, seed: int) -> StudySpec:
    space = SearchSpace(
        backbones=(BackboneSpec.load(arm.backbone),),
        image_size=(arm.image_size,),
        learning_rate=dict.fromkeys(ARTICLE_KINDS, (1e-5, 0.1)),
    )
    precision = devices.fast_precision()
    return StudySpec(
        name="league",
        seed=seed,
        data=DataSpec(dataset=dataset.name),
        search=space,
        budget=Budget(epochs=EPOCHS, batch_size=BATCH_SIZE, batch_pixels=BATCH_SIZE * 160**2, precision=precision),
        pruning=Pruning(enabled=False),
    )


@cache
def drawn_for(dataset: DatasetSpec, seed: int) -> Drawn:
    """Return all images for training and validation."""
    listing = read_listing(dataset)
    whole = draw_listed(listing, DataSpec(dataset=dataset.name), seed).parts
    n_validation = min(_MOST_VALIDATION, (len(whole.train) + len(whole.validation)) // _VALIDATION_SHARE)
    return draw_listed(listing, DataSpec(dataset=dataset.name, validation_size=n_validation), seed)


def problem_for(dataset: DatasetSpec, place: Place, arm: Strategy) -> Problem:
    spec = _spec(dataset, arm, place.seed)
    set_precision(spec)
    split = nested(drawn_for(dataset, place.seed), place.n_train).load(arm.image_size)
    networks, steps, features = _shared(arm.backbone, split.n_classes)
    return Problem(spec, split, backbone(arm.backbone), features, networks, steps)


@cache
def backbone(name: str) -> Backbone:
    declared = BackboneSpec.load(name)
    return Backbone.of(declared, load_weights(declared))


@cache
def _shared(name: str, n_classes: int) -> tuple[Networks, Steps, FeatureCache]:
    """Return what all sets with as many classes share, compiled networks above all."""
    network = backbone(name)
    return Networks(network, n_classes), fit.steps(), FeatureCache(user_cache() / "features", network, _CACHE_BYTES)


def main(argv: Sequence[str] | None = None) -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="SET")
    parser.add_argument("--seeds", type=int, default=1, help="of split and training (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="begin no arm later (default: %(default)s)")
    asked = parser.parse_args(argv)
    ROWS.mkdir(exist_ok=True)
    until = time.monotonic() + 60 * asked.minutes
    datasets = [DatasetSpec.load(name, Path.cwd()) for name in asked.data]
    for dataset in datasets:
        profile(dataset)
    for seed in range(asked.seeds):
        for n_train, arms in _order():
            for dataset in datasets:
                record(dataset, n_train, seed, arms, until)


def _order() -> list[tuple[int, list[Strategy]]]:
    """Return numbers of training images and the arms to train on them: a later number waits for two more waves."""
    pairs = [(2 * later + wave, n, arms) for later, n in enumerate(COUNTS) for wave, arms in enumerate(waves())]
    return [(n, arms) for _, n, arms in sorted(pairs, key=lambda pair: pair[0])]


if __name__ == "__main__":
    main()
