"""Timing a backbone once, when a study begins: the rates that say what its trainings cost in seconds."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.backbones.devices import as_numpy
from harness.core.strategy import Strategy
from harness.training.counts import KINDS, OPERATIONS, Counts, fit_rates
from harness.training.flops import cached_start
from harness.training.problem import Problem

_REPEATS = 3
_ENOUGH = 2.0  # seconds of one thing, after which it is not repeated
_WIDE_HEAD = (2048, 2048)
_ALL_FIT = 2**62  # bytes


def measure_rates(problem: Problem) -> dict[str, float]:
    """Time one batch on the problem's backbone, and return the seconds of each of `counts.OPERATIONS`.

    Timed are the forward pass and four training steps: of a linear head and of a wide one on stored activations, of the
    network's second half and of all of it. Each is run once before, to compile it, and the fastest of three counts:
    what else the machine does only ever slows it down. The batch is of random images at the size of the baselines. What
    none of these does gets the rate of a usual processor, scaled to this machine. Networks are to be reset before they
    are trained.
    """
    backbone, size = problem.backbone, problem.spec.search.baseline_size
    batch = problem.spec.budget.batch_size_at(size)
    setting = replace(problem.setting, n_train=batch, n_validation=0, views=1, max_bytes=_ALL_FIT, baseline_size=size)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    head = Strategy(
        "feature_extraction", problem.n_stages, "average", (), 0.0, "adam", 1e-3, image_size=size,
        backbone=backbone.spec.name,
    )  # fmt: skip
    steps = [head, replace(head, head=_WIDE_HEAD), replace(head, kind="fine_tune_all", frozen=0)]
    if problem.n_stages > 1:
        steps.append(replace(head, kind="freeze_first_k", frozen=problem.n_stages // 2))
    backbone.load(pretrained=True, seed=0)
    counted: list[Counts] = []
    measured: list[NDArray[np.float64]] = []

    def stored(stage: int) -> NDArray[Any]:
        return np.asarray(as_numpy(backbone.forward(pixels, 0, stage, size)), np.float32) if stage else pixels

    features = _only("features", setting.counts(head, 1))
    if features.any():  # else no stage is worth storing
        start = cached_start(backbone.architecture, head.frozen, size, batch, _ALL_FIT)
        counted.append(features)
        measured.append(_of("features", _fastest(lambda: stored(start))))
    for strategy in steps:
        start = cached_start(backbone.architecture, strategy.frozen, size, batch, _ALL_FIT)
        counted.append(_only("train", setting.counts(strategy, 1)))
        measured.append(_of("train", _fastest_step(problem, strategy, start, stored(start))))
    rates = fit_rates(counted, measured, [1.0] * len(counted))
    assert rates is not None  # nothing takes no time
    return dict(zip(OPERATIONS, rates.tolist(), strict=True))


def _fastest_step(problem: Problem, strategy: Strategy, start: int, inputs: Any) -> float:
    """Return the seconds of a training step of ``strategy`` on a batch of ``inputs``, outputs of stage ``start``."""
    network = problem.networks.for_strategy(strategy, start)
    step = problem.steps.of(network, strategy.optimizer)
    network.reset(seed=0, dropout=0.0)
    labels, weights = np.zeros(len(inputs), np.int64), np.ones(len(inputs), np.float32)
    step.start()
    try:
        there = step.to_device(inputs)
        rows = np.arange(len(inputs))
        # Where a GPU runs ahead of us, the loss of a step waits for the whole step before it.
        return _fastest(lambda: as_numpy(step.run(there[rows], labels, weights, 0.0, 1)))
    finally:
        step.release()


def _fastest(run: Callable[[], Any]) -> float:
    """Return the seconds of ``run``: the fewest of a few calls, after one that compiles it."""
    run()
    seconds: list[float] = []
    while len(seconds) < _REPEATS and sum(seconds) < _ENOUGH:
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _only(kind: str, counts: Counts) -> Counts:
    """Return the counts of one kind alone."""
    return np.where(np.array(KINDS)[:, None] == kind, counts, 0.0)


def _of(kind: str, seconds: float) -> NDArray[np.float64]:
    """Return seconds of one kind as those of all."""
    return np.where(np.array(KINDS) == kind, seconds, 0.0)
