"""Compare a trial of the harness with the loop a user would write around Keras's ``fit``, which reuses nothing.

    python -m benchmarks.plain_loop [--repeats 3] [--epochs 5]

Both have the same images, split, epochs, batch size, head and learning rates. They alternate trial by trial in one run,
so that a machine whose speed drifts treats both alike. The loop computes in float32, Keras's default, the harness in
the precision that a new study has here. Writes the seconds of a trial by strategy, their ratio and both accuracies to
benchmarks/results/plain_loop.json. Needs VGG16's weights (see docs/usage.md).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks.plain_model import plain_model, save_weights
from benchmarks.record import machine, write
from harness.backbones.devices import fast_precision
from harness.backbones.preprocessing import resized
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split
from harness.training.problem import Problem, set_precision
from harness.training.schedule import WARM_UP_SHARE
from harness.training.trial import run_trial

VGG16 = BackboneSpec.load("vgg16")


def strategies(width: int) -> list[Strategy]:
    """Return one strategy of each kind and freeze depth, with a head of ``width``.

    A width that was not used before is a head that was not compiled before.
    """
    head = (width,)
    return [
        Strategy("feature_extraction", 13, "average", head, 0.2, "adam", 3e-3, image_size=32),
        Strategy("freeze_first_k", 10, "average", head, 0.2, "adam", 3e-4, image_size=32),
        Strategy("freeze_first_k", 5, "average", head, 0.2, "adam", 2e-4, image_size=32),
        Strategy("fine_tune_all", 0, "average", head, 0.2, "adam", 1e-4, image_size=32),
        Strategy("from_scratch", 0, "average", head, 0.2, "adam", 5e-4, image_size=32),
    ]


def plain_trial(strategy: Strategy, problem: Problem, weights: Path, seed: int) -> float:
    """Build, freeze, compile and fit as many tutorials do; return the validation accuracy of the last epoch."""
    keras.backend.clear_session()
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(seed)
    size, budget = problem.spec.search.image_size[0], problem.spec.budget
    train, validation = (
        (
            keras.applications.vgg16.preprocess_input(np.array(resized(part.pixels, size))),
            part.labels,
        )
        for part in (problem.split.train, problem.split.validation)
    )
    model = plain_model(strategy, size, problem.split.n_classes, weights)
    steps = budget.epochs * -(-len(train[0]) // budget.batch_size)
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=strategy.learning_rate, warmup_steps=warm_up
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        *train, validation_data=validation, epochs=budget.epochs, batch_size=budget.batch_size, verbose=0
    )
    return float(history.history["val_accuracy"][-1])


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    changes = {"budget.epochs": arguments.epochs, "budget.precision": fast_precision()}
    spec, dataset = StudySpec.load("mnist", changes)
    weights = load_weights(VGG16)
    rows: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem.of(VGG16, spec, load_split(dataset, spec), weights, Path(folder) / "cache")
        file = Path(folder) / "notop.weights.h5"
        save_weights(weights.tensors, file)
        for repeat in range(arguments.repeats):
            for strategy in strategies(width=256 + repeat):
                start = time.perf_counter()
                plain_accuracy = plain_trial(strategy, problem, file, seed=repeat)
                plain_seconds = time.perf_counter() - start
                set_precision(spec)
                start = time.perf_counter()
                result = run_trial(strategy, problem, seed=repeat, on_checkpoint=lambda curve: None)
                ours = time.perf_counter() - start
                name = f"{strategy.kind} k={strategy.frozen}"
                rows.setdefault(name, []).append(
                    {
                        "plain_seconds": plain_seconds,
                        "harness_seconds": ours,
                        "ratio": plain_seconds / ours,
                        "plain_accuracy": plain_accuracy,
                        "harness_accuracy": result.val_accuracy or float("nan"),
                        "features_cached": float(result.features_cached),
                    }
                )
                print(name, {key: round(value, 3) for key, value in rows[name][-1].items()}, flush=True)
    medians = {
        name: {key: statistics.median(row[key] for row in measured) for key in measured[0]}
        for name, measured in rows.items()
    }
    for name, median in medians.items():
        print(
            f"{name:24} plain {median['plain_seconds']:7.1f} s, harness {median['harness_seconds']:6.1f} s, "
            f"ratio {median['ratio']:5.1f}; "
            f"accuracy {median['plain_accuracy']:.3f} against {median['harness_accuracy']:.3f}"
        )
    write(
        "plain_loop",
        {
            "machine": machine(),
            "precision": spec.budget.precision,
            "repeats": arguments.repeats,
            "medians": medians,
            "runs": rows,
        },
    )


if __name__ == "__main__":
    main()
