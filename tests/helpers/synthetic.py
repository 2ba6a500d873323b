"""A study made of made-up numbers that look real, written through the store as a run writes it."""

import math
import random
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna

from harness.confirmation.finalists import candidates
from harness.core.predictions import Predictions
from harness.core.results import METRICS, STATUSES, Checkpoint, Seconds, Status, TrialResult
from harness.core.spec import StudySpec
from harness.core.strategy import KINDS, Kind, Strategy
from harness.storage import tables
from harness.storage.confirmations import Confirmation, Opening
from harness.storage.predictions import statements
from harness.storage.store import Store

HOSTILE = "<img src=x onerror=alert(1)>"
_CEILING: dict[Kind, float] = {
    "feature_extraction": 0.93,
    "freeze_first_k": 0.975,
    "fine_tune_all": 0.97,
    "from_scratch": 0.94,
    "two_phase": 0.985,
}
_FORWARD, _IMAGES, _EPOCHS = 0.626e9, 2000, 5


def write_study(
    store: Store, name: str, trials: int, *, only: Status | None = None, baselines: bool = True, **changes: Any
) -> None:
    """Write a study of ``trials`` finished trials, the first ten also into Optuna; ``only`` is a status that all of
    them end with, ``changes`` are to the study's spec. Macro F1 is what an accuracy lacks of 1. The rows are those that
    a run writes, but in one transaction: ten thousand take seconds."""
    space = {"search.strategies": KINDS, "search.learning_rate": dict.fromkeys(KINDS, (1e-5, 0.1))}
    spec, _ = StudySpec.load("mnist", {"name": name, **space, **changes})
    dataset = HOSTILE if name == HOSTILE else "mnist"
    data: dict[str, Any] = {"dataset": dataset, "classes": 10, "n_train": 2000, "n_validation": 1000, "n_test": 2000}
    data["class_names"] = [f"{HOSTILE}{label}" for label in range(10)]
    profile = {"n_images": 2000, "class_sizes": [180, *[200] * 8, 220], "similar": False, "similarity": None}
    data["profile"] = profile | {"similarity_source": f"declared {HOSTILE}"}
    in_seconds = spec.search.cost == "seconds"
    if in_seconds:
        rates: dict[str, Any] = {backbone.name: {} for backbone in spec.search.backbones}
        data["rates"] = {"device": f"cpu {HOSTILE}", "precision": "float32", "backbones": rates}
    advice = {
        "scenario": 2,
        "strategy": "freeze_first_k k=7, average",
        "reason": f"2,000 images count as small {HOSTILE}",
    }
    store.studies.create(name, spec=spec.model_dump(mode="json"), data=data, advice=advice)
    session = store.sessions.begin(
        name,
        command="test",
        spec={},
        environment={"commit": "0" * 7, "device": "cpu"},
        host="h",
        pid=1,
        process_started=0,
    )
    study = optuna.create_study(study_name=name, storage=store.optuna_storage(), directions=["maximize", "minimize"])
    draw, sizes, backbones = random.Random(7), spec.search.image_size, spec.search.backbones
    found = []
    for number in range(trials):
        strategy, origin, result = _trial(draw, number, only)
        place = number // len(sizes) % len(backbones)
        strategy = strategy.on(backbones[place], sizes[number % len(sizes)])
        found.append((number, strategy, origin, _rated(result, (place + 1) * 1e-11) if in_seconds else result))
    add_trials(store, name, session, found)
    draw = random.Random(7)
    for number in range(min(trials, 10)):
        strategy, _, result = _trial(draw, number, only)
        _tell(study, strategy, result)
    if baselines:
        for baseline, accuracy, flops in (
            ("majority", 0.112, 0.0), ("mlp", 0.905, 4e11), ("cnn", 0.958, 5e12), ("linear_probe", 0.921, 1.3e12),
        ):  # fmt: skip
            seconds = Seconds(train=flops / 1e11, evaluation=0.4)
            result = TrialResult(
                "complete", flops, flops, val_accuracy=accuracy, val_loss=0.3, seconds=seconds,
                val_balanced_accuracy=accuracy, val_macro_f1=accuracy - 0.1,
            )  # fmt: skip
            result = _rated(result, 1e-11) if in_seconds else result
            store.baselines.record(name, session=session, name=baseline, seed=0, result=result)


def confirm_study(store: Store, name: str) -> None:
    """Add a finished confirmation with three seeds, the best trial, the advice and the baselines, to a study."""
    trials, baselines = store.trials.frame(name), store.baselines.frame(name)
    session, n_test, seeds = int(store.sessions.frame(name)["id"].iloc[0]), 500, (1, 2, 3)
    chosen = candidates(trials, baselines, "accuracy", store.studies.get(name).cost, 1000, 1)
    number = store.confirmations.record_test_opening(
        name, Opening(command="test", finalists=1, seeds=seeds, n_test=n_test, candidates=chosen), session=session
    )
    draw = random.Random(3)
    for candidate in chosen:
        searched = trials if candidate.trial is not None else baselines
        key = ("number", candidate.trial) if candidate.trial is not None else ("name", candidate.name)
        row = searched[searched[key[0]] == key[1]].iloc[0]
        for seed in seeds:
            good = (0.5 if math.isnan(row["val_accuracy"]) else float(row["val_accuracy"])) - 0.01
            found = predictions(draw, good, n_test)
            result = TrialResult(
                "complete", float(row["train_flops"]) * 1.5, 0.0, val_accuracy=float(found.correct.mean()),
                rated_seconds=float(row["rated_seconds"]) * 1.5,
                seconds=Seconds(train=3.0), predictions=found,
            )  # fmt: skip
            store.confirmations.record(
                name,
                number,
                Confirmation(candidate=candidate.name, seed=seed, n_train=3000, result=result),
                session=session,
            )
    store.confirmations.finish_test_opening(name, number)


def predict_study(store: Store, name: str, n: int = 200) -> None:
    """Add predictions of all complete trials and baselines for ``n`` validation images to a study."""
    names = store.studies.get(name).data["class_names"]
    members = [(f"{HOSTILE}{image}.png", names[image % len(names)], "") for image in range(n)]
    trials, baselines, draw = store.trials.frame(name), store.baselines.frame(name), random.Random(5)
    complete = trials[trials["status"] == "complete"]
    predicted = [(f"trial {row['number']}", row["val_accuracy"]) for row in complete.to_dict("records")]
    predicted += list(zip(baselines["name"], baselines["val_accuracy"], strict=True))
    with store.engine.begin() as connection:
        connection.execute(tables.split.insert().values(study=name, part="validation", members=members))
        for who, accuracy in predicted:
            for statement in statements(name, who, predictions(draw, accuracy, n, len(names)), seed=0):
                connection.execute(statement)


def predictions(draw: random.Random, accuracy: float, n: int, classes: int = 10) -> Predictions:
    """Draw predictions for images of classes 0, 1, … in turn: wrong ones are of the next class, and less confident."""
    labels = np.arange(n) % classes
    correct = np.array([draw.random() < accuracy for _ in range(n)])
    logits = np.zeros((n, classes), np.float32)
    logits[np.arange(n), np.where(correct, labels, (labels + 1) % classes)] = [draw.uniform(2, 6) for _ in range(n)]
    logits[~correct] /= 2
    return Predictions.of(logits, labels)


def add_trials(store: Store, name: str, session: int, trials: list[tuple[int, Strategy, str, TrialResult]]) -> None:
    """Add finished trials to a study: number, strategy, origin and result of each."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    tickets, rows, checkpoints = [], [], []
    for number, strategy, origin, result in trials:
        key = {"study": name, "number": number}
        tickets.append(
            key | {"session": session, "retries": 0, "begun": True, "finished": True, "origin": origin, "params": {}}
        )
        rows.append({
            **key, "session": session, "sampler_notes": {}, **strategy.as_row(), "origin": origin, "seed": number,
            "started_at": now, "finished_at": now, "status": result.status, "reason": result.reason,
            "val_accuracy": result.val_accuracy, "val_balanced_accuracy": result.val_balanced_accuracy,
            "val_macro_f1": result.val_macro_f1, "val_loss": result.val_loss, "train_loss": result.train_loss,
            "train_flops": result.train_flops, "planned_flops": result.planned_flops,
            "rated_seconds": result.rated_seconds, "planned_seconds": result.planned_seconds,
            "features_cached": result.features_cached,
            "predicted_seconds": 1.2 * result.planned_flops / 1.5e11 if number else None,
            **{f"seconds_{kind}": value for kind, value in asdict(result.seconds).items()},
        })  # fmt: skip
        checkpoints += [key | asdict(checkpoint) for checkpoint in result.curve]
    with store.engine.begin() as connection:
        for table, values in ((tables.ticket, tickets), (tables.trial, rows), (tables.checkpoint, checkpoints)):
            if values:
                connection.execute(table.insert(), values)


def _trial(draw: random.Random, number: int, only: Status | None) -> tuple[Strategy, str, TrialResult]:
    strategy, origin = _strategy(draw, number)
    return strategy, origin, _result(draw, strategy, only)


def _rated(result: TrialResult, rate: float) -> TrialResult:
    """Return the result with its seconds, so many for each FLOP."""
    curve = tuple(replace(point, rated_seconds=rate * point.train_flops) for point in result.curve)
    seconds = rate * result.train_flops, rate * result.planned_flops
    return replace(result, rated_seconds=seconds[0], planned_seconds=seconds[1], curve=curve)


def _strategy(draw: random.Random, number: int) -> tuple[Strategy, Any]:
    if number == 0:
        return Strategy("freeze_first_k", 7, "average", (), 0.0, "adam", 1e-4), "advice"
    if number == 1:
        return Strategy("feature_extraction", 13, "flatten", (1000, 500, 150), 0.3, "adam", 1e-3), "recipe_extractor"
    if number == 2:
        return Strategy("freeze_first_k", 5, "flatten", (4096, 4096), 0.0, "sgd", 1e-3), "recipe_partial"
    kind = KINDS[number % len(KINDS)] if number < 23 else draw.choice(["freeze_first_k", "freeze_first_k", *KINDS])
    depth = {"feature_extraction": 13, "freeze_first_k": draw.randint(1, 12), "two_phase": number % 13}.get(kind, 0)
    phases = (1 + number % 3, 0.1) if kind == "two_phase" else (0, 1.0)
    head = tuple(draw.choice([64, 128, 256, 512]) for _ in range(draw.randint(0, 2)))
    strategy = Strategy(
        kind, depth, draw.choice(["average", "max", "flatten"]), head, round(draw.uniform(0, 0.6), 3),
        draw.choice(["adam", "sgd"]), 10 ** draw.uniform(-4.5, -2), *phases,
    )  # fmt: skip
    return strategy, "quota" if number < 23 else "sampler"


def _result(draw: random.Random, strategy: Strategy, only: Status | None) -> TrialResult:
    frozen = (0, 0.003, 0.06, 0.1, 0.16, 0.21, 0.29, 0.39, 0.49, 0.69, 0.92, 0.95, 0.97, 1.0)[strategy.frozen]
    epoch_flops = _FORWARD * _IMAGES * (3 * (1 - frozen) + 0.02)
    prefix = _FORWARD * _IMAGES * frozen
    planned = prefix + _EPOCHS * epoch_flops
    status: Status = only or draw.choices(STATUSES, [30, 10, 3, 2, 1, 1])[0]
    reason = {
        "complete": "",
        "pruned": "at 3.1 TFLOP 0.412; even the optimistic forecast 0.871 stays under the front's 0.962",
        "over_budget": "predicted 21.4 TFLOP is more than max_trial_cost = 20 TFLOP",
        "diverged": f"the loss is not finite in epoch 2 {HOSTILE}",
        "out_of_memory": f"no 8 GB left {HOSTILE}",
        "failed": f"its process died 3 times in this trial {HOSTILE}",
    }[status]
    epochs = {"complete": _EPOCHS, "pruned": draw.randint(1, 3), "diverged": 1}.get(status, 0)
    good = _CEILING[strategy.kind] - abs(draw.gauss(0, 0.02 if strategy.optimizer == "adam" else 0.08))
    speed = draw.uniform(0.6, 1.6) * (0.5 if status == "pruned" else 1)
    accuracies = [round(0.1 + (good - 0.1) * (1 - math.exp(-speed * epoch)), 3) for epoch in range(1, epochs + 1)]
    curve = tuple(
        Checkpoint(
            epoch, prefix + epoch * epoch_flops, epoch * epoch_flops / 1.5e11, 1.0 / epoch, 1.1 / epoch,
            accuracy, accuracy - 0.01, 1 - accuracy,
        )
        for epoch, accuracy in enumerate(accuracies, start=1)
    )  # fmt: skip
    spent = curve[-1].train_flops if curve else 0.0
    seconds = Seconds(prefix / 1.5e11, 1.1, spent / 1.5e11, 0.8 * epochs) if curve else Seconds()
    result = TrialResult(
        status, spent, planned, seconds=seconds, features_cached=draw.random() < 0.5, reason=reason, curve=curve
    )
    if curve and status in ("complete", "pruned"):
        end = curve[-1]
        scores = {f"val_{metric}": end.score(metric) for metric in METRICS}
        result = replace(result, **scores, val_loss=end.val_loss, train_loss=end.train_loss)
    return result


def _tell(study: optuna.Study, strategy: Strategy, result: TrialResult) -> None:
    scored = result.val_accuracy is not None
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if scored else optuna.trial.TrialState.FAIL,
            params={"strategy": strategy.kind, "learning_rate": strategy.learning_rate},
            distributions={
                "strategy": optuna.distributions.CategoricalDistribution(KINDS),
                "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1, log=True),
            },
            values=[result.val_accuracy, result.train_flops] if scored else None,
        )
    )
