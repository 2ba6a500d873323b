"""The small searches of an atlas: the same search on nested subsets of several data sets, in one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from harness.backbones.backbone import Backbone
from harness.backbones.devices import fast_precision
from harness.backbones.weights import load_weights
from harness.core.paths import user_cache
from harness.core.search_space import SearchSpace
from harness.core.spec import BaselinesSpec, Budget, DatasetSpec, DataSpec, Pruning, StudySpec
from harness.core.strategy import ARTICLE_KINDS, Kind
from harness.data.dataset import Drawn, Split, draw
from harness.guidance.advice import ADVISED, Advice, advise
from harness.guidance.measure import measure_similarity
from harness.guidance.profile import profile
from harness.statistics.similarity import SAMPLE, Similarity, load_reference
from harness.storage.heartbeat import Watch
from harness.storage.store import Store
from harness.strategy_search.mirror import mirror
from harness.strategy_search.plan import plan
from harness.strategy_search.resume import check_same_problem, resolve_precision
from harness.training.problem import Problem, set_precision
from harness.workers.session import begin_study
from harness.workers.work import check_same_images, run_study_trials

STRATEGIES = (
    *ADVISED.values(),
    replace(ADVISED["feature_extraction"], learning_rate=5e-2),
    replace(ADVISED["freeze_first_k"], frozen=10),
)
"""What every small search tries: the article's four strategies as they are advised, and the two cheap ones another way:
a new layer with a higher rate, for so few steps, and a second k."""

SEEN = 2000
"""Training images that a trial sees over all its epochs, as far as 3 to 10 epochs allow."""


@dataclass(frozen=True)
class Atlas:
    """What is asked for. Every cell, a ``size`` of a data set under a seed from 0 to ``seeds`` - 1, is a study named
    ``<name>/<data set>/<size>/<seed>``."""

    name: str
    datasets: tuple[DatasetSpec, ...]
    sizes: tuple[int, ...]
    seeds: int
    validation_size: int
    image_size: int

    def spec(self, dataset: DatasetSpec, size: int, seed: int) -> StudySpec:
        """Return the study of one cell."""
        rates: dict[Kind, tuple[float, float]] = dict.fromkeys(ARTICLE_KINDS, (1e-05, 0.1))
        return StudySpec(
            name=f"{self.name}/{dataset.name}/{size}/{seed}",
            description=f"a cell of the atlas {self.name}: {size} images of {dataset.name}",
            seed=seed,
            data=DataSpec(
                dataset=dataset.name,
                train_size=size,
                validation_size=self.validation_size,
            ),
            search=SearchSpace(image_size=(self.image_size,), learning_rate=rates),
            budget=Budget(trials=len(STRATEGIES), epochs=epochs(size)),
            pruning=Pruning(enabled=False),
            baselines=BaselinesSpec(names=("majority", "linear_probe")),
        )


def epochs(size: int) -> int:
    """Return the epochs of a trial on ``size`` images."""
    return max(3, min(10, round(SEEN / size)))


def nested(drawn: Drawn, size: int) -> Drawn:
    """Return ``drawn`` with its first ``size`` training images, in an order that keeps the shares of all classes."""
    train = drawn.parts.train
    labels = drawn.listing.labels[train]
    place = np.empty(len(train))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        place[labels == label] = (np.arange(count) + 0.5) / count
    return replace(drawn, parts=replace(drawn.parts, train=train[np.argsort(place, kind="stable")[:size]]))


def run_atlas(atlas: Atlas, storage: str, weights: Mapping[str, Path], command: str) -> None:
    """Run every cell that is not finished yet, in one process: they share the backbone, compiled networks, activations.

    Seed by seed, so that what there is at any time covers the whole map. Sizes that a set has too few images for are
    left out with a note. What is finished stays finished. Raises HarnessError for user errors.
    """
    store = Store(storage)
    problems: dict[str, Problem] = {}
    network: Backbone | None = None
    for seed in range(atlas.seeds):
        for dataset in atlas.datasets:
            specs = [_spec(store, atlas, dataset, size, seed) for size in atlas.sizes]
            if all(_finished(store, spec) for spec in specs):
                continue
            wanted = specs[0].data.model_copy(update={"train_size": None})
            whole = draw(dataset, wanted, seed)
            for spec in specs:
                size = spec.data.train_size
                assert size is not None
                if size > len(whole.parts.train):
                    there = f"{len(whole.parts.train):,} training images"
                    print(f"{spec.name}: left out, {dataset.name} has {there}", flush=True)
                    continue
                if _finished(store, spec):
                    continue
                drawn = nested(whole, size)
                split = drawn.load(atlas.image_size)
                _begin(
                    store,
                    atlas,
                    dataset,
                    spec,
                    drawn,
                    split,
                    partial(_similarity, whole, weights.get("vgg16"), spec.budget.cache_bytes),
                )
                if network is None:
                    set_precision(spec)
                    declared = spec.search.advice_backbone
                    network = Backbone.of(declared, load_weights(declared, weights.get(declared.name)))
                if dataset.name not in problems:
                    problems[dataset.name] = Problem.on(network, spec, split, user_cache() / "features")
                _run_cell(store, replace(problems[dataset.name], spec=spec, split=split), command)


def _begin(
    store: Store,
    atlas: Atlas,
    dataset: DatasetSpec,
    spec: StudySpec,
    drawn: Drawn,
    split: Split,
    measure: Callable[[], Similarity],
) -> None:
    """Create the cell's study or check that the stored one is the same. Similarity is measured once per data set."""
    if store.studies.find(spec.name) is None:
        cells = (store.studies.find(n) for n in store.studies.names() if n.startswith(f"{atlas.name}/{dataset.name}/"))
        known = next((cell.data["profile"]["similarity"] for cell in cells if cell is not None), None)
        similarity = Similarity(**known) if known else measure()
        measured = dataset.model_copy(update={"similar_to_imagenet": None})  # the map wants a place, not a side
        found = profile(split.train.labels, split.n_classes, measured, similarity, spec.advice)
        where = {"name": atlas.name, "size": spec.data.train_size, "seed": spec.seed}
        advice = advise(found, spec.advice.large_at, spec.search)
        begin_study(store, spec, dataset, drawn, split, found, advice, atlas=where)
    row = store.studies.get(spec.name)
    check_same_problem(row.spec, spec)
    check_same_images(row, split)


def _similarity(drawn: Drawn, weights: Path | None, cache_bytes: int) -> Similarity:
    return measure_similarity(drawn.some(SAMPLE, load_reference().image_size), weights, cache_bytes)


def _spec(store: Store, atlas: Atlas, dataset: DatasetSpec, size: int, seed: int) -> StudySpec:
    spec = atlas.spec(dataset, size, seed)
    return resolve_precision(spec, store.studies.find(spec.name), fast_precision)


def _finished(store: Store, spec: StudySpec) -> bool:
    baselines = set(store.baselines.frame(spec.name)["name"])
    return len(store.trials.frame(spec.name)) >= spec.budget.trials and set(spec.baselines.names) <= baselines


def _run_cell(store: Store, problem: Problem, command: str) -> None:
    spec = problem.spec
    Watch(store, spec.name).recover()
    row = store.studies.get(spec.name)
    size = spec.search.advice_size
    advice = Advice.of(row.advice["scenario"], row.advice["reason"], spec.search)
    others = [tried for strategy in STRATEGIES if (tried := replace(strategy, image_size=size)) != advice.strategy]
    plan(store, spec, advice, [("quota", strategy) for strategy in others])
    run_study_trials({problem.backbone.spec.name: problem}, store, command, baselines=True)
    mirror(store, spec.name)
    trials = store.trials.frame(spec.name).sort_values("val_accuracy", ascending=False)
    reached = ", ".join(f"{row['strategy']} {row['val_accuracy']:.3f}" for row in trials.to_dict("records"))
    print(f"{spec.name}: {reached} ({trials['seconds_total'].sum():.0f} s)", flush=True)
