"""One trial, top to bottom."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harness.backbones.activation_cache import DiskFull
from harness.core.clock import Clock
from harness.core.cost import Spent
from harness.core.interrupts import stepwise
from harness.core.predictions import Predictions
from harness.core.results import METRICS, Checkpoint, Status, TrialResult
from harness.core.strategy import Strategy
from harness.training.fit import Diverged, EpochEnd, compile_step, fit, out_of_memory
from harness.training.networks import Network
from harness.training.problem import Problem
from harness.training.schedule import Schedule

_DEAD_UNITS = "gives all validation images exactly the same output: its units are dead and cannot learn"

OnCheckpoint = Callable[[Sequence[Checkpoint]], str | None]
"""Called with the curve so far, whose last point is new. Returns a reason to stop, or None to go on."""


def run_trial(
    strategy: Strategy, problem: Problem, *, seed: int, on_checkpoint: OnCheckpoint, first_look: int = 1
) -> TrialResult:
    """Train ``strategy`` and evaluate it on the validation set after every epoch from ``first_look`` on.

    Ends as complete, pruned (``on_checkpoint`` said so, or the study prunes and the network is dead), over_budget (more
    expensive than the study's ``max_trial_cost``, or no room on the disk for its activations: not started), diverged (a
    loss that is not finite) or out_of_memory.
    Anything else that goes wrong is a bug and is raised.
    """
    budget = problem.spec.budget
    planned_epochs = budget.epochs_of(strategy)
    planned = problem.spent(strategy, planned_epochs)
    if budget.max_trial_cost is not None and planned.train_flops > budget.max_trial_cost * 1e12:
        predicted = f"predicted cost {planned.train_flops / 1e12:.3g} TFLOP"
        reason = f"{predicted} exceeds max_trial_cost {budget.max_trial_cost:.3g} TFLOP"
        return TrialResult.not_run("over_budget", reason, planned)

    clock = Clock()
    curve: list[Checkpoint] = []
    cached: list[bool] = []
    epochs = 0.0
    status: Status = "complete"
    reason = ""
    predictions: Predictions | None = None
    try:
        for end in stepwise(_train(strategy, problem, clock, cached, seed, first_look)):
            epochs, predictions = end.epoch, end.predictions
            seconds = clock.seconds()
            curve.append(
                Checkpoint(
                    epoch=end.epoch,
                    **problem.spent(strategy, end.epoch)._asdict(),
                    train_seconds=seconds.features + seconds.train,
                    train_loss=end.train_loss,
                    val_loss=end.val_loss,
                    **end.scores.columns(),
                )
            )
            stop = on_checkpoint(tuple(curve))
            if end.constant and problem.spec.pruning.enabled:
                stop = _DEAD_UNITS  # where no ReLU of a layer answers to any image, no gradient passes it
            if stop is not None and end.epoch < planned_epochs:
                status, reason = "pruned", stop
                break
    except Diverged as error:
        status, reason, epochs = "diverged", str(error), error.epochs
    except DiskFull as error:
        status, reason = "over_budget", str(error)
    except Exception as error:
        if (ran_out := out_of_memory(error)) is None:
            raise
        status, reason = "out_of_memory", ran_out

    last = curve[-1] if curve else None
    spent = problem.spent(strategy, epochs) if epochs else Spent(0.0, 0.0 * planned.rated_seconds)
    return TrialResult(
        status=status,
        reason=reason,
        train_flops=spent.train_flops,
        planned_flops=planned.train_flops,
        rated_seconds=spent.rated_seconds,
        planned_seconds=planned.rated_seconds,
        **{f"val_{metric}": last.score(metric) if last else None for metric in METRICS},
        val_loss=last.val_loss if last else None,
        train_loss=last.train_loss if last else None,
        seconds=clock.seconds(),
        features_cached=bool(cached) and all(cached),
        curve=tuple(curve),
        **(predictions.columns() if predictions else {}),
        predictions=predictions.calibrated() if predictions and status == "complete" else None,
    )


def _train(
    strategy: Strategy, problem: Problem, clock: Clock, cached: list[bool], seed: int, first_look: int
) -> Iterator[EpochEnd]:
    """Yield the epochs of all phases, counted through. Adds to ``cached`` whether each phase's activations were."""
    budget = problem.spec.budget
    before: Network | None = None
    done = 0
    phases = strategy.phases(problem.n_stages)
    starts = [problem.start(phase) for phase in phases]
    for number, (phase, start) in enumerate(zip(phases, starts, strict=True), start=1):
        train, validation, found = problem.parts(start, phase.image_size, clock, starts)
        cached.append(found)
        with clock("compile"):
            network = problem.networks.for_strategy(phase, start)
        epochs = budget.epochs_of(strategy) - done if number == len(phases) else strategy.head_epochs
        batch_size = budget.batch_size_at(phase.image_size)
        schedule = Schedule(epochs, batch_size, phase.optimizer, phase.learning_rate, phase.refinements)
        step = compile_step(problem.steps, network, train, validation, schedule, clock)
        network.reset(seed=seed, dropout=phase.dropout, pretrained=phase.pretrained)
        with clock("train"):
            if before is None:
                network.calibrate(train.inputs[: schedule.batch_size])
            else:
                network.take_head(before)
        try:
            for end in fit(network, step, train, validation, schedule, clock, seed=seed, first_look=first_look - done):
                yield replace(end, epoch=done + end.epoch)
        except Diverged as error:
            raise Diverged(done + error.epochs) from None
        before, done = network, done + epochs
