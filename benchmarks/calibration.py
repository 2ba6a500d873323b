"""Measure what the temperature of an exported model does on held-out test images.

    python -m benchmarks.calibration --storage URL --study NAME …

The winner of each study is trained as `harness export` trains it. Its probabilities for the test set are compared with
those that it would give without the temperature, and with the one that was fitted, whether or not the export takes it.
This opens the test set, unrecorded: use it on studies made for this. Writes benchmarks/results/calibration.json.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import machine, write
from harness import command
from harness.core.calibration import calibration_error, log_loss
from harness.data.dataset import load_split
from harness.deployment.winner import Winner, train
from harness.storage.store import Store

_BATCH = 64


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_storage(parser)
    parser.add_argument("--study", required=True, nargs="+", metavar="NAME")
    arguments = parser.parse_args()
    store = Store(arguments.storage, must_exist=True)
    found = {name: measure(store, name) for name in arguments.study}
    write("calibration", {"machine": machine(), "studies": found})


def measure(store: Store, name: str) -> dict[str, Any]:
    """Return the figures of the validation set, which the temperature is fitted to, and of the test set."""
    winner = Winner.of(store, name)
    split = load_split(command.dataset_of(store, name, None), winner.study)
    fitted = winner.calibration
    assert fitted is not None  # of a complete trial
    model, _ = train(winner, split, {}, lambda _: None)
    test = split.test.open()
    pixels = test.pixels if test.pixels.ndim == 4 else np.repeat(test.pixels[..., None], 3, axis=3)
    batches = [model.predict_on_batch(pixels[first : first + _BATCH]) for first in range(0, len(pixels), _BATCH)]
    logits = np.log(np.concatenate(batches).astype(np.float64).clip(1e-30)) * fitted.temperature
    fits = {"before": 1.0, "fitted": fitted.fitted, "after": fitted.temperature}
    both = {name: figures(logits / temperature, test.labels) for name, temperature in fits.items()}
    validation = {"n": fitted.n, "log loss": fitted.loss, "calibration error": fitted.error, "gain": fitted.gain}
    temperatures = {"fitted": fitted.fitted, "temperature": fitted.temperature}
    row = {"strategy": winner.strategy.label(), **temperatures, "validation": validation}
    print(name, row, both, flush=True)
    return {**row, "test": {"n": len(test), **both}}


def figures(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy, log loss and expected calibration error."""
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    right = probabilities.argmax(axis=1) == labels
    error = calibration_error(probabilities.max(axis=1), right)
    return {"accuracy": float(right.mean()), "log loss": log_loss(logits, labels), "calibration error": error}


if __name__ == "__main__":
    main()
