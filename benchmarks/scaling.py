"""Measure wall time and peak memory by the number of trials, the number of images and their size.

    python -m benchmarks.scaling [--largest] [--repeats 1]

- *trials*: a study of so many trials, planned, searched by one worker in SQLite, shown to Optuna trial by trial and
  drawn as a page. Training is stubbed (with the stub of `benchmarks.workers`, which here does not wait), all else is
  real.
- *later*: the hundred trials after so many, which are made up, without showing them to Optuna.
- *images*: so many MNIST digits at 32x32 and 1,000 for validation; the forward pass through all thirteen convolutions,
  then one feature_extraction trial of the study's epochs.
- *size*: a trial of one epoch with ten convolutions frozen on 64 MNIST digits of so many pixels a side, validated on
  32, including activations and compilation.

Each point runs in a new process (on Linux: the peak is the kernel's). Its imports count for the memory and not for the
time. Seconds are those of the clock, and those of the processor, which say more where other work shares it. --largest
begins with the points that take many minutes: 10,000 trials and 60,000 images. --only measures one of the four. Writes
the figures to benchmarks/results/scaling_trials.json, scaling_later.json and so on after each point. Needs VGG16's
weights for images and sizes (see docs/usage.md).
"""

import argparse
import multiprocessing
import os
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.curves import draw
from benchmarks.workers import ADVICE, CLASSES, EPOCHS, Waiting
from dashboards.page import write_page
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock as TrialClock
from harness.core.spec import StudySpec
from harness.core.strategy import N_CONVS, Strategy
from harness.data.dataset import load_split
from harness.storage.store import Store
from harness.storage.tickets import Planned
from harness.strategy_search import worker
from harness.strategy_search.mirror import Mirror
from harness.strategy_search.plan import plan
from harness.strategy_search.resume import begin_session
from harness.strategy_search.worker import Worker
from harness.training.problem import Problem
from harness.training.trial import run_trial
from tests.helpers.synthetic import add_trials

VGG16 = BackboneSpec.load("vgg16")

LARGEST = {"trials": 10_000, "images": 60_000}
FEW, LATER = 5, 100
EXTRACTION = Strategy("feature_extraction", N_CONVS, "average", (256,), 0.2, "adam", 3e-3, image_size=32)
FROZEN = Strategy("freeze_first_k", 10, "average", (256,), 0.2, "adam", 3e-4, image_size=32)
PROFILE = {"n_images": 2000, "class_sizes": [200] * CLASSES, "similar": False, "similarity": None}
DATA = {
    "dataset": "mnist", "classes": CLASSES, "class_names": [str(i) for i in range(CLASSES)], "n_train": 2000,
    "n_validation": 1000, "n_test": 2000, "profile": {**PROFILE, "similarity_source": "declared"},
}  # fmt: skip
WORDS = {"scenario": ADVICE.scenario, "strategy": ADVICE.strategy.label(), "reason": ADVICE.reason}


class Clock:
    """Adds up the seconds of the parts of a measurement, by the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.processor: Counter[str] = Counter()
        self.marks: dict[int, tuple[float, float]] = {}
        self._begin = time.perf_counter(), time.process_time()

    def mark(self, trials: int) -> None:
        """Note the seconds since the beginning, every thousand ``trials`` and after the first hundred."""
        if trials == 100 or trials % 1_000 == 0:
            begin, busy = self._begin
            self.marks[trials] = time.perf_counter() - begin, time.process_time() - busy
            print(f"{trials:>6} trials after %.1f s (%.1f s of the processor)" % self.marks[trials], flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the block's seconds to those of the part ``name``."""
        begin, busy = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] += time.perf_counter() - begin
        self.processor[name] += time.process_time() - busy


def search_and_page(trials: int, folder: Path, clock: Clock) -> None:
    """Search so many stubbed trials, show each to Optuna, and draw the page."""
    spec, _ = StudySpec.load("mnist", {"budget.trials": trials, "budget.epochs": EPOCHS})
    problem: Any = Waiting(spec, 0.0)
    worker.run_trial = problem.run_trial
    store = Store(f"sqlite:///{folder}/study.db")
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data=DATA, advice=WORDS)
    with clock.part("search"):
        plan(store, spec, ADVICE)
        session = begin_session(store, spec, command="benchmark", environment={"commit": "", "device": ""})
    mirror = Mirror(store, spec.name)
    with clock.part("search and mirror"):

        def show(number: int, *_: object) -> None:
            with clock.part("mirror"):
                mirror.keep_up()
            clock.mark(number + 1)

        Worker(store, {"vgg16": problem}, session, lambda _: None).run(show, stop=lambda: False)
        store.sessions.end(session, "done")
        with clock.part("mirror"):
            mirror.update()
    for of in (clock.seconds, clock.processor):
        of["search"] += of.pop("search and mirror") - of["mirror"]
    assert len(store.trials.frame(spec.name)) == trials
    with clock.part("page"):
        write_page(store, spec.name, folder / "page.html")


def later_trials(finished: int, folder: Path, clock: Clock) -> None:
    """Search `LATER` trials more of a study with so many ``finished`` ones, which are made up, and draw the page."""
    spec, _ = StudySpec.load("mnist", {"budget.trials": finished + FEW + LATER, "budget.epochs": EPOCHS})
    problem: Any = Waiting(spec, 0.0)
    worker.run_trial = problem.run_trial
    store = Store(f"sqlite:///{folder}/study.db")
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data=DATA, advice=WORDS)
    session = begin_session(store, spec, command="benchmark", environment={"commit": "", "device": ""})
    draws = random.Random(0)
    made_up = []
    for number, strategy in enumerate(draw(spec, finished)):
        result = problem.run_trial(strategy, None, seed=draws.randrange(997), on_checkpoint=lambda _: None)
        reached = draws.randint(1, EPOCHS)
        if reached < EPOCHS:
            last = result.curve[reached - 1]
            result = replace(
                result, status="pruned", curve=result.curve[:reached], val_accuracy=last.val_accuracy,
                train_flops=last.train_flops,
            )  # fmt: skip
        made_up.append((number, strategy, "sampler", result))
    add_trials(store, spec.name, session, made_up)
    store.tickets.add(spec.name, [Planned()] * (FEW + LATER))
    ran: list[int] = []
    more = Worker(store, {"vgg16": problem}, session, lambda _: None)
    more.run(lambda number, *_: ran.append(number), stop=lambda: len(ran) >= FEW)  # it reads the history once
    with clock.part("search"):
        more.run(lambda *_: None, stop=lambda: False)
    with clock.part("page"):
        write_page(store, spec.name, folder / "page.html")


def features_and_trial(images: int, folder: Path, clock: Clock) -> None:
    """Read so many images, compute their activations, and run a trial on these."""
    with clock.part("open"):
        problem = _problem(folder, **{"data.train_size": images})
    with clock.part("features"):
        problem.parts(N_CONVS, problem.spec.search.image_size[0], TrialClock())
    with clock.part("trial"):
        result = run_trial(EXTRACTION, problem, seed=0, on_checkpoint=lambda curve: None)
    assert result.status == "complete" and result.features_cached


def small_trial(size: int, folder: Path, clock: Clock) -> None:
    """Run a trial on few images of so many pixels a side."""
    problem = _problem(
        folder,
        **{"search.image_size": size, "data.train_size": 64, "data.validation_size": 32, "budget.epochs": 1},
    )
    with clock.part("trial"):
        result = run_trial(FROZEN, problem, seed=0, on_checkpoint=lambda curve: None)
    assert result.status == "complete"


Measure = Callable[[int, Path, Clock], None]

MEASURES: dict[str, tuple[Measure, tuple[int, ...]]] = {
    "trials": (search_and_page, (100, 1_000, 3_000)),
    "later": (later_trials, (100, 1_000, 3_000, 10_000)),
    "images": (features_and_trial, (1_000, 10_000)),
    "size": (small_trial, (32, 64, 96, 160, 224)),
}
"""What is measured, and for which amounts."""


def _problem(folder: Path, **asked: Any) -> Problem:
    spec, dataset = StudySpec.load("mnist", asked)
    return Problem.of(VGG16, spec, load_split(dataset, spec), load_weights(VGG16), folder)


def point(measure: Measure, amount: int) -> dict[str, Any]:
    """Call ``measure`` with ``amount``; return its seconds and the peak memory of this process in MB."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        measure(amount, Path(folder), clock)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return {
        "seconds": clock.seconds, "processor": clock.processor, "megabytes": int(peak[1]) / 1024, "marks": clock.marks,
    }  # fmt: skip


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--only", choices=MEASURES)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for name in (arguments.only,) if arguments.only else MEASURES:
        measure, amounts = MEASURES[name]
        if arguments.largest and name in LARGEST:
            amounts = (LARGEST[name], *amounts)
        points: dict[int, list[dict[str, Any]]] = {}
        for amount in amounts:
            for _ in range(arguments.repeats):
                with ProcessPoolExecutor(1, mp_context=spawn) as apart:
                    one = apart.submit(point, measure, amount).result()
                points.setdefault(amount, []).append(one)
                told = ", ".join(
                    f"{part} {seconds:.1f} s ({one['processor'][part]:.1f} s of the processor)"
                    for part, seconds in one["seconds"].items()
                )
                print(f"{amount:>6} {name:<7} {told}; {one['megabytes']:.0f} MB", flush=True)
            found = {"machine": record.machine(), "load": os.getloadavg()[0], "of": name, "points": points}
            record.write(f"scaling_{name}", found)


if __name__ == "__main__":
    main()
