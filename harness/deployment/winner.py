"""Training a study's winner again, on all images but the held-out test set."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import keras
from pydantic import TypeAdapter, ValidationError

from harness.analysis.rows import best_of
from harness.backbones.weights import load_all
from harness.core.calibration import Calibration
from harness.core.errors import DataError, HarnessError, SpecError
from harness.core.paths import user_cache
from harness.core.results import Checkpoint, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.core.toml import as_toml
from harness.data.dataset import Split, join
from harness.deployment.standalone import standalone
from harness.storage.store import Store
from harness.training.problem import Problem
from harness.training.trial import run_trial


@dataclass(frozen=True, slots=True)
class Measured:
    """What `harness confirm` measured: the mean test accuracy of ``seeds`` such trainings on ``n_test`` images with its
    95 % interval, when the test set was opened for the ``opening``th time."""

    accuracy: float
    low: float
    high: float
    n_test: int
    seeds: int
    opening: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why this one: trial ``trial`` of ``trials``, its score in the study's metric on ``n_validation`` images that it
    had not seen, that of the best baseline there, and the FLOPs that finding it took, baselines included."""

    trial: int
    trials: int
    score: float | None
    n_validation: int
    search_flops: float
    baseline: str | None = None
    baseline_score: float | None = None
    test: Measured | None = None


@dataclass(frozen=True, slots=True)
class Winner:
    """A strategy with the study, the seed and the images (sha256 of the training set) that make it a model.

    ``calibration`` is what was fitted to the validation logits of the trial, None of one that did not complete.
    """

    study: StudySpec
    strategy: Strategy
    seed: int
    images: str
    evidence: Evidence
    calibration: Calibration | None = None

    @classmethod
    def of(cls, store: Store, name: str, number: int | None = None) -> Self:
        """Return trial ``number`` of the study, or the complete one of the highest validation score, the cheaper of
        equals.

        Raises SpecError where there is no such study or trial.
        """
        study, trials = store.studies.get(name), store.trials.frame(name)
        score = f"val_{study.metric}"
        row: Mapping[Any, Any] | None
        if number is None:
            row = best_of(trials[trials["status"] == "complete"], score, study.cost)
        else:
            row = next(iter(trials[trials["number"] == number].to_dict("records")), None)
        if row is None:
            which = "no complete trial yet" if number is None else f"no finished trial {number}"
            raise SpecError(
                f"study {name!r} has {which}: `harness run` adds trials, `harness studies show` counts them"
            )
        baselines = store.baselines.frame(name)
        baseline = best_of(baselines, score, study.cost)
        return cls(
            StudySpec.model_validate(study.spec),
            Strategy.from_row(row),
            row["seed"],
            study.data["digest"],
            Evidence(
                row["number"],
                len(trials),
                row[score] if row[score] == row[score] else None,
                study.data["n_validation"],
                float(trials["train_flops"].sum() + baselines["train_flops"].sum()),
                *(() if baseline is None else (baseline["name"], baseline[score])),
            ),
            store.predictions.calibration(name, row["number"]),
        )

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `toml` wrote. Raises SpecError where it is not that."""
        try:
            declared = tomllib.loads(file.read_text(encoding="utf-8"))
            return cls(
                **{name: TypeAdapter(kind).validate_python(declared.get(name)) for name, kind in _FIELDS.items()}
            )
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SpecError(f"{file} cannot be read as TOML: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "a table"
            raise SpecError(f"{file} is not a spec.toml of an export: {where}: {first['msg']}") from None

    def toml(self) -> str:
        """Return all of it as TOML."""
        values = {name: getattr(self, name) for name in _FIELDS}
        values |= {"study": self.study.model_dump(mode="json"), "strategy": asdict(self.strategy)}
        calibration = None if self.calibration is None else asdict(self.calibration)
        return as_toml(values | {"evidence": asdict(self.evidence), "calibration": calibration})


_FIELDS: dict[str, Any] = {
    "seed": int,
    "images": str,
    "strategy": Strategy,
    "evidence": Evidence,
    "study": StudySpec,
    "calibration": Calibration | None,
}


def train(
    winner: Winner, split: Split, weights: Mapping[str, Path], on_epoch: Callable[[Checkpoint], None]
) -> tuple[keras.Model, TrialResult]:
    """Train the winner on the training and validation sets of ``split``, for the study's epochs; the test set
    stays sealed. Gives the standalone model and what it took. ``weights`` are given files by backbone.

    The temperature must be fitted to images that a network has not seen, so it is that of the trial, which was trained
    on the training set alone.

    The validation figures of the result mean nothing: the network has seen those images. Raises DataError where the
    images are not the study's, and HarnessError where the training cannot be finished.
    """
    if split.train.digest() != winner.images:
        raise DataError(
            f"the images of data set {winner.study.data.dataset!r} here are not those that study "
            f"{winner.study.name!r} was searched on: give the same data with --data"
        )
    unlimited = winner.study.budget.model_copy(update={"max_trial_cost": None})
    study = winner.study.model_copy(update={"budget": unlimited})
    declared = study.search.backbone(winner.strategy.backbone)
    found = load_all([declared], weights)[declared.name]
    joined = replace(split, train=join(split.train, split.validation))
    problem = Problem.of(declared, study, joined, found, user_cache() / "features")
    result = run_trial(winner.strategy, problem, seed=winner.seed, on_checkpoint=lambda curve: on_epoch(curve[-1]))
    if result.status != "complete":
        raise HarnessError(
            f"training {winner.strategy.label()} on {len(problem.split.train):,} images ended as {result.status} "
            f"({result.reason}): choose another with --trial"
        )
    last = winner.strategy.phases(problem.n_stages)[-1]
    network = problem.networks.for_strategy(last, problem.start(last))  # the one just trained
    temperature = 1.0 if winner.calibration is None else winner.calibration.temperature
    return standalone(network, problem.backbone, split.train.pixels.shape[1:], temperature), result
