"""Measure wall time and peak memory by the number of trials, the number of images and their size.

    python -m benchmarks.scaling [--largest] [--repeats 1]

- *trials*: a study of so many trials, planned, searched by one worker in SQLite, shown to Optuna and drawn as a page.
  Training is stubbed (with the stub of `benchmarks.workers`, which here does not wait), all else is real.
- *images*: so many MNIST digits at 32x32 and 1,000 for validation; the forward pass through all thirteen convolutions,
  then one feature_extraction trial of the study's epochs.
- *size*: a trial of one epoch with ten convolutions frozen on 64 MNIST digits of so many pixels a side, validated on
  32, including activations and compilation.

Each point runs in a new process (on Linux: the peak is the kernel's). Its imports count for the memory and not for the
time. --largest adds the points that take many minutes: 10,000 trials and 60,000 images. Writes the figures to
benchmarks/results/scaling.json. Needs VGG16's weights (see docs/usage.md).
"""

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.workers import ADVICE, CLASSES, EPOCHS, Waiting
from dashboards.page import write_page
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock
from harness.core.spec import StudySpec
from harness.core.strategy import N_CONVS, Strategy
from harness.data.dataset import load_split
from harness.storage.store import Store
from harness.strategy_search import worker
from harness.strategy_search.mirror import mirror
from harness.strategy_search.plan import plan
from harness.strategy_search.resume import begin_session
from harness.strategy_search.worker import Worker
from harness.training.problem import Problem
from harness.training.trial import run_trial

VGG16 = BackboneSpec.load("vgg16")

TRIALS, IMAGES, SIZES = (10, 100, 1_000, 3_000), (1_000, 10_000), (32, 64, 96, 160, 224)
LARGEST = {"trials": 10_000, "images": 60_000}
EXTRACTION = Strategy("feature_extraction", N_CONVS, "average", (256,), 0.2, "adam", 3e-3, image_size=32)
FROZEN = Strategy("freeze_first_k", 10, "average", (256,), 0.2, "adam", 3e-4, image_size=32)
PROFILE = {"n_images": 2000, "class_sizes": [200] * CLASSES, "similar": False, "similarity": None}
DATA = {
    "dataset": "mnist", "classes": CLASSES, "class_names": [str(i) for i in range(CLASSES)], "n_train": 2000,
    "n_validation": 1000, "n_test": 2000, "profile": {**PROFILE, "similarity_source": "declared"},
}  # fmt: skip
WORDS = {"scenario": ADVICE.scenario, "strategy": ADVICE.strategy.label(), "reason": ADVICE.reason}


def search_and_page(trials: int, folder: Path) -> dict[str, float]:
    """Return the seconds of a search of so many stubbed trials, of showing it to Optuna, and of its page."""
    spec, _ = StudySpec.load("mnist", {"budget.trials": trials, "budget.epochs": EPOCHS})
    problem: Any = Waiting(spec, 0.0)
    worker.run_trial = problem.run_trial
    store = Store(f"sqlite:///{folder}/study.db")
    begin = time.perf_counter()
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data=DATA, advice=WORDS)
    plan(store, spec, ADVICE)
    session = begin_session(store, spec, command="benchmark", environment={"commit": "", "device": ""})
    Worker(store, {"vgg16": problem}, session, lambda _: None).run(lambda *_: None, stop=lambda: False)
    store.sessions.end(session, "done")
    searched = time.perf_counter()
    assert len(store.trials.frame(spec.name)) == trials
    mirror(store, spec.name)
    mirrored = time.perf_counter()
    write_page(store, spec.name, folder / "page.html")
    return {"search": searched - begin, "mirror": mirrored - searched, "page": time.perf_counter() - mirrored}


def features_and_trial(images: int, folder: Path) -> dict[str, float]:
    """Return the seconds of reading so many images, of computing their activations, and of a trial on these."""
    begin = time.perf_counter()
    problem = _problem(folder, **{"data.train_size": images})
    ready = time.perf_counter()
    problem.parts(N_CONVS, problem.spec.search.image_size[0], Clock())
    computed = time.perf_counter()
    result = run_trial(EXTRACTION, problem, seed=0, on_checkpoint=lambda curve: None)
    assert result.status == "complete" and result.features_cached
    return {"open": ready - begin, "features": computed - ready, "trial": time.perf_counter() - computed}


def small_trial(size: int, folder: Path) -> dict[str, float]:
    """Return the seconds of a trial on few images of so many pixels a side."""
    problem = _problem(
        folder,
        **{"search.image_size": size, "data.train_size": 64, "data.validation_size": 32, "budget.epochs": 1},
    )
    begin = time.perf_counter()
    result = run_trial(FROZEN, problem, seed=0, on_checkpoint=lambda curve: None)
    assert result.status == "complete"
    return {"trial": time.perf_counter() - begin}


def _problem(folder: Path, **asked: Any) -> Problem:
    spec, dataset = StudySpec.load("mnist", asked)
    return Problem.of(VGG16, spec, load_split(dataset, spec), load_weights(VGG16), folder)


def point(measure: Callable[[int, Path], dict[str, float]], amount: int) -> dict[str, Any]:
    """Call ``measure`` with ``amount``; return its seconds and the peak memory of this process in MB."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(amount, Path(folder))
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return {"seconds": seconds, "megabytes": int(peak[1]) / 1024}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for name, measure, amounts in (
        ("trials", search_and_page, TRIALS), ("images", features_and_trial, IMAGES), ("size", small_trial, SIZES),
    ):  # fmt: skip
        if arguments.largest and name in LARGEST:
            amounts = (*amounts, LARGEST[name])
        for amount in amounts:
            for _ in range(arguments.repeats):
                with ProcessPoolExecutor(1, mp_context=spawn) as apart:
                    one = apart.submit(point, measure, amount).result()
                found.setdefault(name, {}).setdefault(amount, []).append(one)
                parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in one["seconds"].items())
                print(f"{amount:>6} {name:<7} {parts}; {one['megabytes']:.0f} MB", flush=True)
    write = {"machine": record.machine(), "repeats": arguments.repeats, "points": found}
    record.write("scaling", {**write, "load": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
