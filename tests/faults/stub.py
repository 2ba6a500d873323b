"""`harness run` with everything real but the training: trials read the cache, sleep and report a made-up curve.

    python -m tests.faults.stub --study tiny.toml --storage URL --workers 4 --trials 30
    python -m tests.faults.stub --join --study tiny --storage URL        # as `harness worker`, and as another machine

Processes are forked from one that has imported everything, so that a restart takes a moment. The times of the heartbeat
are shortened. Trials sleep for STUB_SECONDS, and each appends a line to the file STUB_LOG when it has ended.
"""

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dashboards import optuna, page, terminal
from harness import run, worker
from harness.backbones import weights as weights_module
from harness.backbones.activation_cache import FeatureCache
from harness.backbones.described import architecture_of
from harness.backbones.weights import Weights
from harness.core import processes as core_processes
from harness.core.backbone import BackboneSpec
from harness.core.cost import Spent
from harness.core.results import Checkpoint, Seconds, TrialResult
from harness.core.spec import Budget
from harness.core.strategy import Strategy
from harness.storage import heartbeat
from harness.strategy_search import resume
from harness.strategy_search import worker as search_worker
from harness.training.counts import Setting
from harness.training.flops import trial_cost
from harness.training.problem import Problem
from harness.training.trial import OnCheckpoint
from harness.workers import processes, session, work

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

SECONDS = float(os.environ.get("STUB_SECONDS", "0.5"))
LOG = os.environ.get("STUB_LOG", os.devnull)


class StubProblem:
    """What the search asks of a problem, and a cache whose values tell whether they are right."""

    def __init__(self, spec: Any, split: Any, weights: Weights, cache: Path) -> None:
        self.spec, self.split = spec, split
        self.backbone: Any = SimpleNamespace(
            spec=VGG16,
            weights=weights,
            architecture=ARCHITECTURE,
            dtype="float32",
            load=self.load,
            forward=self.forward,
        )
        self.features = FeatureCache(cache, self.backbone, spec.budget.cache_bytes)

    def load(self, *, pretrained: bool, seed: int) -> None:
        time.sleep(0.05)

    def forward(self, pixels: np.ndarray, start: int, end: int, image_size: int) -> np.ndarray:
        """Gives every image its mean, as often as the start wants values."""
        means = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
        return np.broadcast_to(means.reshape(-1, 1, 1, 1), (len(pixels), *ARCHITECTURE.shape(end, image_size)))

    def spent(self, strategy: Strategy, epochs: float) -> Spent:
        cost = trial_cost(ARCHITECTURE, strategy, self.split.n_classes, len(self.split.train), 10**9)
        return Spent(cost.at(len(self.split.train), epochs))

    def spent_by_baseline(self, name: str, epochs: float, flops: float) -> Spent:
        return Spent(flops)

    @property
    def setting(self) -> Setting:
        n_train, n_validation = len(self.split.train), len(self.split.validation)
        return Setting(ARCHITECTURE, self.split.n_classes, n_train, n_validation, Budget(batch_size=32), 10**9)

    def expect(self, frozen: int, image_size: int) -> None:
        pass


def run_trial(strategy: Strategy, problem: Any, *, seed: int, on_checkpoint: OnCheckpoint) -> TrialResult:
    """The accuracy is made up from the seed, so that whoever runs the trial gets the same."""
    draw = random.Random(seed)
    epochs = problem.spec.budget.epochs
    start = max(1, strategy.frozen)
    size = strategy.image_size
    values = problem.features.get(problem.split.train, start, size).values
    expected = problem.forward(problem.split.train.pixels, 0, start, size)
    assert np.array_equal(values, expected), "half an entry, or a damaged one"
    curve: list[Checkpoint] = []
    for epoch in range(1, epochs + 1):
        time.sleep(SECONDS / epochs * random.uniform(0.5, 1.5))
        accuracy = min(0.99, 0.5 + 0.1 * epoch + draw.uniform(0, 0.2))
        curve.append(
            Checkpoint(epoch, problem.spent(strategy, epoch).train_flops, epoch, 1 / epoch, 1 / epoch, accuracy)
        )
        on_checkpoint(tuple(curve))
    with open(LOG, "a") as log:  # noqa: PTH123
        log.write(f"{os.getpid()}\n")
    status = "diverged" if draw.random() < 0.1 else "complete"
    last = curve[-1]
    return TrialResult(
        status, last.train_flops, last.train_flops, last.val_accuracy, last.val_loss, last.train_loss,
        Seconds(train=SECONDS), reason="" if status == "complete" else "made up", curve=tuple(curve),
    )  # fmt: skip


def install() -> None:
    weights = Weights(tensors={}, source="stub", notes=(), digest="stub")
    patches: list[tuple[Any, str, Any]] = [
        (weights_module, "load_weights", lambda *_: weights),
        (Problem, "of", lambda _, *rest: StubProblem(*rest)), (search_worker, "run_trial", run_trial),
        (work, "_score_layers", lambda *_: None),
        (page, "write_page", lambda *_: None), (optuna, "attach", lambda *_: None),
        (terminal, "print_report", lambda *_: None),
        (heartbeat, "BEAT", 0.3), (heartbeat, "DEAD_AFTER", 6),
    ]  # fmt: skip
    for owner, name, stub in patches:
        setattr(owner, name, stub)
    if elsewhere := os.environ.get("STUB_HOST"):
        core_processes.host = lambda: elsewhere
        resume.host = core_processes.host
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.stub"])
    processes._CONTEXT = context


def run_twice(arguments: list[str]) -> int:
    """Run two equal commands that both find no study, since each waits for the other before it begins one."""
    context: Any = multiprocessing.get_context("fork")
    profile, both = session.profile, context.Barrier(2)

    def profile_together(*given: Any) -> Any:
        both.wait(60)
        return profile(*given)

    session.profile = profile_together
    pair = [context.Process(target=lambda: sys.exit(run.main(arguments))) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
    return max(abs(process.exitcode) for process in pair)


install()

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--join" in arguments:
        arguments.remove("--join")
        raise SystemExit(worker.main(arguments))
    raise SystemExit(run.main(arguments))
