"""Measure the share of this machine's convolution peak that the harness's own training step reaches.

    python -m benchmarks.roofline [--repeats 12]

Rates are FLOPs a second at the study's batch and image size (mnist: 64 images of 32x32), each kernel alone:

- *peak* is the rate of TensorFlow's forward convolution on the layer of VGG16 where it is fastest.
- *bound* is the rate of all convolutions of a step together: the FLOPs of forward passes and of the gradients of inputs
  and filters, divided by the sum of their times. Each is computed by the faster kernel, TensorFlow's or that of
  `harness.backbones.kernels`. No step made of these kernels is faster, even if pools, casts and the optimizer took no
  time.

FLOPs are those of the definition, products with padding included, as `harness.training.flops` and TensorFlow's profiler
count them. `harness.backbones.kernels` leaves such products out and is credited with them. A square matrix product is
measured for reference. A step is that of `harness.training.fit.compile_step`, optimizer included. Its FLOPs are those
of `harness.training.flops.step_cost`, its share is their rate divided by the peak of the same precision. Every round
times everything once, so that other work on the machine affects all alike. Prints the best and the median of the
rounds. Writes the figures to benchmarks/results/roofline.json. Needs TensorFlow and VGG16's weights (see
docs/usage.md).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks.record import machine, write
from harness.backbones import kernels as own
from harness.backbones.described import architecture_of
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.dataset import load_split
from harness.training.fit import compile_step
from harness.training.flops import step_cost
from harness.training.problem import Problem
from harness.training.schedule import Schedule

VGG16 = BackboneSpec.load("vgg16")
ARCHITECTURE = architecture_of(VGG16)

PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
STRATEGIES = [  # from_scratch takes the same steps as fine_tune_all
    Strategy("fine_tune_all", 0, "average", (256,), 0.2, "adam", 1e-4, image_size=32),
    Strategy("freeze_first_k", 5, "average", (256,), 0.2, "adam", 1e-4, image_size=32),
    Strategy("freeze_first_k", 10, "average", (256,), 0.2, "adam", 1e-4, image_size=32),
]
SIDE = 2048  # of the matrices of the plain product


class Shape(NamedTuple):
    """A 3x3 convolution: side of its square map, input channels and filters."""

    side: int
    channels: int
    filters: int


Call = Callable[[], Any]
Rates = dict[str, dict[str, float]]
"""By kernel: ``best`` and ``median``, FLOPs a second."""


def layers(image_size: int) -> list[Shape]:
    """Return VGG16's convolutions in order."""
    return [Shape(*ARCHITECTURE.shape(i, image_size)[1:], conv.channels) for i, conv in enumerate(ARCHITECTURE.stages)]


def flops(shape: Shape, batch: int) -> float:
    """Return the FLOPs of the forward pass through one convolution; either gradient costs as many."""
    return 2.0 * 9 * shape.channels * shape.filters * shape.side**2 * batch


def kernels(shape: Shape, batch: int, dtype: Any) -> dict[str, Call]:
    """Return a convolution's forward pass and gradients, ready to be called."""
    side, channels, filters = shape

    def normal(*shape: int) -> Any:
        return tf.cast(tf.random.normal(shape), dtype)

    inputs, kernel = normal(batch, side, side, channels), normal(3, 3, channels, filters)
    upstream = normal(batch, side, side, filters)
    same: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    run: dict[str, Call] = {
        "forward": lambda: tf.nn.conv2d(inputs, kernel, 1, "SAME"),
        "forward_ours": lambda: own.convolve(inputs, kernel),
        "input_gradient": lambda: tf.raw_ops.Conv2DBackpropInput(
            input_sizes=inputs.shape, filter=kernel, out_backprop=upstream, **same
        ),
        "input_gradient_ours": lambda: own.input_gradient(kernel, upstream),
        "filter_gradient": lambda: tf.raw_ops.Conv2DBackpropFilter(
            input=inputs, filter_sizes=kernel.shape, out_backprop=upstream, **same
        ),
        "filter_gradient_ours": lambda: own.filter_gradient(inputs, upstream),
    }
    if not (own.on_pairs(side, side) or own.in_strips(side, side)):  # then they are TensorFlow's
        del run["forward_ours"], run["input_gradient_ours"]
    return {name: tf.function(call) for name, call in run.items()}


def product(dtype: Any) -> Call:
    """Return a plain matrix product, ready to be called."""
    one, other = (tf.cast(tf.random.normal((SIDE, SIDE)), dtype) for _ in range(2))
    call: Call = tf.function(lambda: one @ other)
    return call


def steps(problem: Problem) -> dict[str, tuple[Strategy, int, Call]]:
    """Return the harness's training step of each strategy, with its start, ready to be called on one batch."""
    ready = {}
    budget = problem.spec.budget
    for strategy in STRATEGIES:
        start, clock = problem.start(strategy), Clock()
        train, validation, _ = problem.parts(start, problem.spec.search.image_size[0], clock)
        network = problem.networks.for_strategy(strategy, start)
        schedule = Schedule(1, budget.batch_size, "adam", 1e-4)
        step = compile_step(problem.steps, network, train, validation, schedule, clock)
        network.reset(seed=0, dropout=strategy.dropout)
        network.calibrate(train.inputs[: budget.batch_size])
        step.start()
        rows = np.arange(budget.batch_size)
        weights = np.ones(budget.batch_size, np.float32)

        def call(step: Any = step, train: Any = train, rows: Any = rows, weights: Any = weights) -> None:
            loss = float(step.run(train.inputs[rows], train.labels[rows], weights, 1e-4, 1))
            assert np.isfinite(loss)

        ready[f"k={strategy.frozen}"] = strategy, start, call
    return ready


def timed(calls: Mapping[Any, Call], rounds: int) -> dict[Any, list[float]]:
    """Return the seconds of each call in each round.

    A call is made twice and timed the second time: its data is then where a loop over it would have it.
    """
    seconds: dict[Any, list[float]] = {key: [] for key in calls}
    for _ in range(rounds + 1):
        for key, call in calls.items():
            call()
            tf.test.experimental.sync_devices()
            start = time.perf_counter()
            call()
            tf.test.experimental.sync_devices()
            seconds[key].append(time.perf_counter() - start)
    return {key: measured[1:] for key, measured in seconds.items()}  # the first round traces


def rate(work: float, seconds: list[float]) -> dict[str, float]:
    """Return FLOPs a second, best and median."""
    return {"best": work / min(seconds), "median": work / statistics.median(seconds)}


def bound(rates: Mapping[Shape, Rates], convolutions: list[Shape], trained: list[Shape]) -> float:
    """Return the FLOPs a second of the convolutions of a step alone.

    All ``convolutions`` run forward. The ``trained`` last ones have gradients, except that of the first one's input.
    """

    def seconds_of(shape: Shape, name: str) -> float:
        found = rates[shape]
        return flops(shape, 1) / max(found[by]["best"] for by in (name, f"{name}_ours") if by in found)

    work = sum(flops(shape, 1) for shape in [*convolutions, *trained, *trained[1:]])
    seconds = (
        sum(seconds_of(shape, "forward") for shape in convolutions)
        + sum(seconds_of(shape, "filter_gradient") for shape in trained)
        + sum(seconds_of(shape, "input_gradient") for shape in trained[1:])
    )
    return work / seconds


def measure(problem: Problem, rounds: int) -> dict[str, Any]:
    """Measure kernels, peaks and steps in the precision of ``problem``."""
    spec = problem.spec
    size, batch, dtype = spec.search.image_size[0], spec.budget.batch_size, spec.budget.precision
    convolutions = layers(size)
    ready = steps(problem)
    calls: dict[Any, Call] = {"product": product(dtype)} | {name: call for name, (_, _, call) in ready.items()}
    for shape in dict.fromkeys(convolutions):
        calls |= {(shape, name): call for name, call in kernels(shape, batch, dtype).items()}
    seconds = timed(calls, rounds)
    rates: dict[Shape, Rates] = {}
    for key, measured in seconds.items():
        if isinstance(key, tuple):
            rates.setdefault(key[0], {})[key[1]] = rate(flops(key[0], batch), measured)
    peak = max(kernel["forward"]["best"] for kernel in rates.values())
    rows = []
    for name, (strategy, start, _) in ready.items():
        work = batch * step_cost(problem.backbone.architecture, strategy, problem.split.n_classes, start)
        reached = rate(work, seconds[name])
        most = bound(rates, convolutions[start:], convolutions[strategy.frozen :])
        rows.append({
            "frozen": strategy.frozen, "start": start, "flops": work, "seconds": seconds[name],
            "rate": reached, "peak": peak, "bound": most,
            "share": {kind: value / peak for kind, value in reached.items()},
            "share_of_bound": {kind: value / most for kind, value in reached.items()},
        })  # fmt: skip
    return {
        "product": rate(2.0 * SIDE**3, seconds["product"]),
        "peak": peak,
        "layers": [{**shape._asdict(), "count": convolutions.count(shape), **rates[shape]} for shape in rates],
        "steps": rows,
    }


def show(precision: str, found: dict[str, Any]) -> None:
    """Print the figures of one precision."""

    def giga(value: float) -> str:
        return f"{value / 1e9:.0f}"

    print(f"{precision}, GFLOP/s (best / median): product {' / '.join(map(giga, found['product'].values()))}")
    for layer in found["layers"]:
        named = {
            name: f"{giga(of['best'])} / {giga(of['median'])}" for name, of in layer.items() if isinstance(of, dict)
        }
        print(f"  {layer['side']:>2}x{layer['side']:<2} {layer['channels']:>3} -> {layer['filters']:<3} {named}")
    print(f"  peak {giga(found['peak'])}")
    for row in found["steps"]:
        shares = ", ".join(
            f"{row[name]['best']:.0%} (median {row[name]['median']:.0%}) of {most} {giga(row[most])}"
            for name, most in (("share", "peak"), ("share_of_bound", "bound"))
        )
        best = min(row["seconds"])
        print(f"  step k={row['frozen']:<2} {1e3 * best:6.1f} ms, {giga(row['rate']['best'])} GFLOP/s: {shares}")


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12)
    arguments = parser.parse_args()
    weights = load_weights(VGG16)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            asked = {"budget.precision": precision, "data.train_size": 64, "data.validation_size": 32}
            spec, dataset = StudySpec.load("mnist", asked)
            problem = Problem.of(VGG16, spec, load_split(dataset, spec), weights, Path(folder))
            found[precision] = measure(problem, arguments.repeats)
            show(precision, found[precision])
    write("roofline", {"machine": machine(), "repeats": arguments.repeats, "precisions": found})


if __name__ == "__main__":
    main()
