"""Measure the seconds of an epoch on a GPU and compare them with the least that the card could take.

    KERAS_BACKEND=jax python -m benchmarks.gpu [--study mnist_full] [--train-size N] [--epochs 3]

First the ceilings of the card are measured, each alone: a matrix product, a copy, the study's convolutions and their
gradients. Then `harness.training.trial.run_trial` trains each strategy for a few epochs on the study's images, at its
image size. The first strategy runs once more with a wider head: this shows what compiling takes when the step of the
convolutions is compiled already. The first epoch of each strategy is left out.

*Floor* is the larger of two times: the epoch's FLOPs (`harness.training.flops`) at the rate of the fastest product or
convolution, and its bytes at the rate of the copy. The bytes are those of convolutions that run one after another. Each
reads and writes its maps once in the forward pass and once for each gradient; frozen ones in the forward pass only.
*Bound* is the sum of the times of the epoch's convolutions, forward and with the gradients it needs, each measured
alone. It is what cuDNN's kernels would allow if nothing ran between them.

Writes the figures to benchmarks/results/gpu.json. Needs JAX, a GPU and VGG16's weights (see docs/usage.md).
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.record import machine, write
from harness.backbones.batches import edges
from harness.backbones.described import architecture_of
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split
from harness.training.problem import Problem
from harness.training.trial import run_trial

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

STRATEGIES = [
    Strategy("fine_tune_all", 0, "average", (256,), 0.2, "adam", 1e-4, image_size=224),
    Strategy(
        "fine_tune_all", 0, "average", (512,), 0.2, "sgd", 1e-4, image_size=224
    ),  # compiled already, except its head
    Strategy("freeze_first_k", 5, "average", (256,), 0.2, "adam", 1e-4, image_size=224),
    Strategy("freeze_first_k", 10, "average", (256,), 0.2, "adam", 1e-4, image_size=224),
    Strategy("feature_extraction", 13, "flatten", (1000, 500, 150), 0.3, "adam", 1e-3, image_size=224),
]
PRODUCT_SIDE = 8192
COPIED = 2**30  # values of 2 bytes
CALLS, ROUNDS = 10, 5


def seconds_of(function: Callable[..., Any], *given: Any) -> float:
    """Return the seconds of one call, in the fastest of a few rounds."""
    call = jax.jit(function)
    jax.block_until_ready(call(*given))
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready([call(*given) for _ in range(CALLS)])
        rounds.append((time.perf_counter() - start) / CALLS)
    return min(rounds)


def convolve(maps: Any, kernel: Any) -> Any:
    """As VGG16's layers do."""
    return jax.lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def input_gradient(maps: Any, kernel: Any, upstream: Any) -> Any:
    """Return the gradient of the input of `convolve`."""
    return jax.vjp(lambda maps: convolve(maps, kernel), maps)[1](upstream)


def filter_gradient(maps: Any, kernel: Any, upstream: Any) -> Any:
    """Return the gradient of the kernel of `convolve`."""
    return jax.vjp(lambda kernel: convolve(maps, kernel), kernel)[1](upstream)


def ceilings(image_size: int, batch: int, dtype: Any) -> dict[str, Any]:
    """Measure a product (FLOPs a second), a copy (bytes a second, read and written) and each convolution (seconds)."""

    def normal(*shape: int) -> Any:
        return jax.random.normal(jax.random.key(0), shape, dtype)

    square = normal(PRODUCT_SIDE, PRODUCT_SIDE)
    found: dict[str, Any] = {"product": 2.0 * PRODUCT_SIDE**3 / seconds_of(lambda a, b: a @ b, square, square.T)}
    convolutions = []
    for index, conv in enumerate(ARCHITECTURE.stages):
        side, _, channels = ARCHITECTURE.shape(index, image_size)
        maps, kernel = normal(batch, side, side, channels), normal(3, 3, channels, conv.channels)
        upstream = normal(batch, side, side, conv.channels)
        convolutions.append({
            "layer": conv.name,
            "flops": 2.0 * 9 * channels * conv.channels * side**2 * batch,
            "forward": seconds_of(convolve, maps, kernel),
            "input_gradient": seconds_of(input_gradient, maps, kernel, upstream),
            "filter_gradient": seconds_of(filter_gradient, maps, kernel, upstream),
        })  # fmt: skip
    copied = jax.numpy.ones(COPIED, "bfloat16")
    found["convolutions"] = convolutions
    found["copy"] = 2 * copied.nbytes / seconds_of(lambda values: values + 1, copied)
    return found


def bytes_moved(image_size: int, start: int, frozen: int, width: int) -> float:
    """Return the bytes that the convolutions after ``start`` move in one step for one image.

    A value has ``width`` bytes.
    """

    def maps(index: int) -> int:
        side, _, channels = ARCHITECTURE.shape(index, image_size)
        return side**2 * (channels + ARCHITECTURE.stages[index].channels)

    forward = sum(maps(index) for index in range(start, len(ARCHITECTURE.stages)))
    backward = sum(2 * maps(index) for index in range(frozen, len(ARCHITECTURE.stages)))
    return float(width * (forward + backward))


def bound(convolutions: list[dict[str, Any]], start: int, frozen: int) -> float:
    """Return the seconds of the convolutions of a step after ``start``, the first ``frozen`` of all being frozen."""
    return (
        sum(conv["forward"] for conv in convolutions[start:])
        + sum(conv["filter_gradient"] for conv in convolutions[frozen:])
        + sum(conv["input_gradient"] for conv in convolutions[frozen + 1 :])
    )


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="mnist_full")
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--validation-size", type=int)
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    asked = {"budget.epochs": arguments.epochs, "budget.precision": arguments.precision, "pruning.enabled": False}
    sizes = {"data.train_size": arguments.train_size, "data.validation_size": arguments.validation_size}
    asked |= {key: size for key, size in sizes.items() if size is not None}
    spec, dataset = StudySpec.load(arguments.study, asked)
    size, batch = spec.search.image_size[0], spec.budget.batch_size
    most = ceilings(size, batch, arguments.precision)
    rates = [conv["flops"] / conv["forward"] for conv in most["convolutions"]]
    rate = max(most["product"], *rates)
    print(
        f"product {most['product'] / 1e12:.0f} TFLOP/s, convolutions forward {min(rates) / 1e12:.0f} to "
        f"{max(rates) / 1e12:.0f}, copy {most['copy'] / 1e12:.2f} TB/s",
        flush=True,
    )
    split = load_split(dataset, spec)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem.of(VGG16, spec, split, load_weights(VGG16), Path(folder))
        for strategy in STRATEGIES:
            result = run_trial(strategy, problem, seed=0, on_checkpoint=lambda curve: None)
            assert result.status == "complete", result
            ends = list(itertools.pairwise(result.curve))
            epochs = [after.train_seconds - before.train_seconds for before, after in ends]
            work = ends[0][1].train_flops - ends[0][0].train_flops
            start = problem.start(strategy)
            moved = len(split.train) * bytes_moved(size, start, strategy.frozen, np.dtype(arguments.precision).itemsize)
            floor = max(work / rate, moved / most["copy"])
            steps = len(edges(len(split.train), batch))
            least = steps * bound(most["convolutions"], start, strategy.frozen)
            memory = jax.devices()[0].memory_stats() or {}
            rows.append({
                "strategy": strategy.label(), "frozen": strategy.frozen, "start": start,
                "epoch_seconds": epochs, "epoch_flops": work, "epoch_bytes": moved, "floor": floor, "bound": least,
                "seconds": asdict(result.seconds),
                "val_accuracy": result.val_accuracy, "peak_bytes": memory.get("peak_bytes_in_use"),
            })  # fmt: skip
            middle = statistics.median(epochs)
            print(
                f"{strategy.label()}: epoch {middle:.2f} s, floor {floor:.2f} ({floor / middle:.0%}), "
                f"bound {least:.2f} ({least / middle:.0%}), {work / middle / 1e12:.0f} TFLOP/s; "
                + ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in rows[-1]["seconds"].items())
                + f"; validation {result.val_accuracy:.4f}",
                flush=True,
            )
    images = {"train": len(split.train), "validation": len(split.validation), "image_size": size, "batch": batch}
    write("gpu", {"machine": machine(), "study": spec.name, "images": images, "ceilings": most, "rows": rows})


if __name__ == "__main__":
    main()
