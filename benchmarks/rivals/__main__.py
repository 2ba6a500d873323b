"""Compare the harness with other tuners on the same images for the same time: when has each found how much?

    python -m benchmarks.rivals [--environments DIR] [--budget 180] [--seeds 3] [--train-size 500]

KerasTuner's Hyperband, Ray Tune's ASHA and Syne Tune's multi-objective ASHA search the space of the study mnist with
trials as a user of Keras would write them; the harness is `harness.run` from an empty cache. Each has --budget seconds
from the start of its process, imports included, and is then stopped. All get the same images, split and weights; each
seed has another split. Every reported epoch counts: its validation accuracy, and its FLOPs by `harness.training.flops`,
the same for all, as if all of them stored the activations of frozen layers. Writes how each search stood at what time,
and the seconds to 99 % of the best hypervolume of all, to benchmarks/results/rivals.json.

Missing rivals are installed into --environments (2.5 GB, a package index is needed), pinned by the requirements files
next to this one.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import record
from benchmarks.plain_model import save_weights
from benchmarks.rivals.curves import Report, Ruler, Standing, Verdict, as_line, judge, read_reports, standings
from benchmarks.rivals.job import STUDY, Job
from harness.backbones.preprocessing import resized
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.paths import user_cache
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split

VGG16 = BackboneSpec.load("vgg16")

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RIVALS = {"hyperband": "KerasTuner Hyperband", "asha": "Ray Tune ASHA", "mo_asha": "Syne Tune MO-ASHA"}
"""Module in this package (also in the name of its requirements file): name of the rival."""

CURVE = [field.name for field in fields(Standing)]
_LOOK = 0.1  # seconds between checks of a search
_FAREWELL = 60.0  # seconds that a search has to shut down


def interpreter(environments: Path, rival: str) -> Path:
    """Return the Python of a virtual environment with what ``rival`` needs; create it if missing or outdated."""
    home, wanted = environments / rival, HERE / f"requirements-{rival}.txt"
    python, installed = home / "bin" / "python", home / wanted.name
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted.read_text(encoding="utf-8"):
        print(f"installing {RIVALS[rival]}", flush=True)
        venv.create(home, clear=True, symlinks=True, with_pip=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--requirement", str(wanted)], check=True)
        shutil.copy(wanted, installed)
    return python


def pins() -> dict[str, list[str]]:
    """Return the pinned requirements of each rival."""
    return {rival: (HERE / f"requirements-{rival}.txt").read_text(encoding="utf-8").split() for rival in RIVALS}


def save_images(spec: StudySpec, dataset: DatasetSpec, file: Path) -> Ruler:
    """Write the study's training and validation set, scaled to VGG16's input, and return its ruler."""
    split, size = load_split(dataset, spec), spec.search.image_size[0]
    arrays = {}
    for name, part in {"train": split.train, "validation": split.validation}.items():
        arrays |= {f"{name}_pixels": np.array(resized(part.pixels, size)), f"{name}_labels": part.labels}
    np.savez(file, **arrays)
    n_train, n_validation = len(split.train), len(split.validation)
    return Ruler(n_train, n_validation, split.n_classes, size, spec.budget.epochs, spec.budget.cache_bytes)


class Checkpoints:
    """Writes a report of each checkpoint of a study's database when it first appears."""

    def __init__(self, database: Path, reports: Path, started: float) -> None:
        self._database, self._reports, self._started = database, reports, started
        self._seen = 0

    def look(self) -> None:
        """Report the new checkpoints."""
        if not self._database.exists():
            return
        with (
            closing(sqlite3.connect(self._database)) as connection,
            suppress(sqlite3.OperationalError),
        ):  # no tables yet
            connection.row_factory = sqlite3.Row
            query = (
                "select t.*, c.rowid as line, c.epoch, c.val_accuracy as reached "
                "from harness_checkpoint c join harness_trial t on t.study = c.study and t.number = c.number "
                "where c.rowid > ? order by c.rowid"
            )
            rows = connection.execute(query, [self._seen]).fetchall()
            now = time.monotonic() - self._started
            with self._reports.open("a", encoding="utf-8") as file:
                for row in rows:
                    strategy = Strategy.from_row({name: row[name] for name in row.keys()})  # noqa: SIM118
                    file.write(as_line(Report(now, str(row["number"]), row["epoch"], strategy, row["reached"])))
                    self._seen = row["line"]


def search(command: Sequence[str], variables: dict[str, str], log: Path, ends: float, look: Callable[[], None]) -> None:
    """Run a process until it ends or until the time ``ends``, calling ``look`` meanwhile.

    Raises:
        RuntimeError: the process failed.
    """
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **variables}, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None and time.monotonic() < ends:
                look()
                time.sleep(_LOOK)
            look()
            if process.poll():
                tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
                raise RuntimeError(f"{' '.join(command)} failed:\n{tail}")
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Stop a process and all processes that it has started."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()  # psutil spares another process that has its number by now


def run(name: str, python: Path, job: Job, spec: StudySpec) -> None:
    """Run one search of ``name``, a rival or the harness."""
    folder, data, look = Path(job.folder), spec.data, lambda: None
    variables = {"PYTHONPATH": str(ROOT)}
    if name == "harness":
        sizes = ["--train-size", str(data.train_size), "--validation-size", str(data.validation_size)]
        command, cache = job.harness("--time-limit", str(job.budget), "--epochs", str(job.ruler.epochs), *sizes)
        variables |= cache
        look = Checkpoints(job.database, Path(job.reports), job.started).look
    else:
        file = folder / "job.json"
        job.write(file)
        command = [str(python), "-m", f"benchmarks.rivals.{name}", str(file)]
    search(command, variables, folder / "log", job.started + job.budget, look)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, default=user_cache() / "rivals", metavar="DIR")
    parser.add_argument("--budget", type=float, default=180, metavar="SECONDS", help="of a search (default: 180)")
    parser.add_argument("--seeds", type=int, default=3, help="splits, each searched by all (default: 3)")
    parser.add_argument("--train-size", type=int, default=500, help="training images (default: 500)")
    parser.add_argument("--validation-size", type=int, default=500, help="validation images (default: 500)")
    parser.add_argument("--epochs", type=int, default=5, help="of a whole trial (default: 5)")
    asked = parser.parse_args(argv)
    pythons = {rival: interpreter(asked.environments.absolute(), rival) for rival in RIVALS}
    systems = {"harness": Path(sys.executable), **pythons}
    sizes = {name: getattr(asked, name) for name in ("train_size", "validation_size")}
    overrides = {f"data.{name}": size for name, size in sizes.items()}
    runs: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = folder / "vgg16.weights.h5"
        save_weights(load_weights(VGG16).tensors, weights)
        for seed in range(asked.seeds):
            spec, dataset = StudySpec.load(STUDY, {**overrides, "budget.epochs": asked.epochs, "seed": seed})
            images = folder / f"{seed}.npz"
            ruler = save_images(spec, dataset, images)
            reference = ruler.most_expensive(spec.search.hidden_layers[1], spec.search.head_width[1])
            found: dict[str, list[Standing]] = {}
            first = seed % len(systems)
            for name in [*systems, *systems][first : first + len(systems)]:  # not always the same one first
                job = Job.begun(spec, images, ruler, weights, folder / f"{name}{seed}", asked.budget)
                run(name, systems[name], job, spec)
                reported = read_reports(Path(job.reports), asked.budget)
                found[name] = standings(reported, ruler, reference)
                last = found[name][-1] if found[name] else Standing(asked.budget, 0.0, 0.0)
                trials = len({report.trial for report in reported})
                curve = [[round(figure, 4) for figure in astuple(standing)] for standing in found[name]]
                runs.append({
                    "seed": seed, "search": name, "trials": trials, "epochs": len(reported), "best": last.best,
                    "hypervolume": last.hypervolume, "curve": curve,
                })  # fmt: skip
                print(
                    f"seed {seed}, {name}: {trials} trials, {len(reported)} epochs, best {last.best:.3f}, "
                    f"hypervolume {last.hypervolume:.3f}",
                    flush=True,
                )
            verdicts.append(judge(found, asked.budget))
            print(f"seed {seed}: {told(verdicts[-1])}", flush=True)
    medians = {
        name: {
            figure: statistics.median(run[figure] for run in runs if run["search"] == name)
            for figure in ("trials", "epochs", "best", "hypervolume")
        }
        for name in systems
    }
    for name, median in medians.items():
        print(f"{RIVALS.get(name, name):21} " + ", ".join(f"{figure} {value:.4g}" for figure, value in median.items()))
    record.write("rivals", {
        "machine": record.machine(), "pins": pins(), "budget": asked.budget, "epochs": asked.epochs, **sizes,
        "medians": medians, "verdicts": [asdict(verdict) for verdict in verdicts], "curve_columns": CURVE, "runs": runs,
    })  # fmt: skip


def told(verdict: Verdict) -> str:
    """Return the verdict in words."""
    reached = ", ".join(
        f"{name} {'never' if seconds is None else f'after {seconds:.1f} s'}"
        for name, seconds in verdict.seconds.items()
    )
    if verdict.ratio is None:
        return f"hypervolume {verdict.target:.3f}: {reached}"
    most = "at most " if verdict.is_bound else ""
    return f"hypervolume {verdict.target:.3f}: {reached}; the harness takes {most}{verdict.ratio:.2f} of a rival's time"


if __name__ == "__main__":
    main()
