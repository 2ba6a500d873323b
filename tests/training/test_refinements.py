"""What is added to plain training: rates by layer, regularization, changed images, averaged weights."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from harness.backbones.devices import as_numpy
from harness.core.clock import Clock
from harness.core.refinements import PLAIN, Refinements
from harness.core.strategy import Strategy
from harness.training.fit import EpochEnd, compile_step, fit
from harness.training.mixing import Mixing, mixed, shares
from harness.training.networks import Network
from harness.training.objective import cross_entropy
from harness.training.problem import Problem
from harness.training.schedule import Schedule
from harness.training.trial import run_trial

WHOLE = Strategy("fine_tune_all", 0, "average", (), 0.0, "sgd", 1e-3, image_size=32)
ONES = np.ones(32, np.float32)


def stepped(
    problem: Problem, refinements: Refinements, steps: int = 1, rate: float = 1e-3
) -> tuple[list[np.ndarray], list[np.ndarray], Network]:
    """The trainable variables before and after so many steps."""
    train, validation, _ = problem.parts(0, 32, Clock())
    network = problem.networks.for_strategy(WHOLE, 0)
    schedule = Schedule(1, 32, "sgd", rate, refinements)
    step = compile_step(problem.steps, network, train, validation, schedule, Clock())
    network.reset(seed=1, dropout=0.0)
    before = [as_numpy(variable) for variable in network.trainable_variables()]
    step.start()
    mixing = Mixing(refinements, 10, 0)
    for number in range(steps):
        rows = slice(32 * number, 32 * number + 32)
        step.run(*mixing.of(train.inputs[rows], train.labels[rows], ONES), rate, number + 1)
    step.write_back()
    step.release()
    return before, [as_numpy(variable) for variable in network.trainable_variables()], network


def test_stages_move_in_the_asked_ratio_in_one_step(tiny_problem: Problem) -> None:
    before, plain, _ = stepped(tiny_problem, PLAIN)
    refinements = Refinements(body_rate=0.5, layer_decay=0.8)
    again, after, network = stepped(tiny_problem, refinements)
    n = len(network.trainable_layers)
    assert refinements.stage_rates(n)[-1] == 0.5
    assert refinements.stage_rates(n)[0] == pytest.approx(0.5 * 0.8 ** (n - 1))
    rates = [
        rate
        for rate, stage in zip(refinements.stage_rates(n), network.trainable_layers, strict=True)
        for _ in stage.trainable_variables
    ]
    rates += [1.0] * (len(before) - len(rates))
    assert len(rates) > n
    for start, same, reached, refined, rate in zip(before, again, plain, after, rates, strict=True):
        assert np.array_equal(start, same)
        moved = np.abs(reached - start).max()
        assert moved > 0
        assert np.abs((refined - start) - rate * (reached - start)).max() < 2e-3 * moved


@pytest.mark.parametrize("refinements", [Refinements(weight_decay=1.0), Refinements(clip_norm=0.01)])
def test_decay_and_clipping_are_keras_own(tiny_problem: Problem, refinements: Refinements) -> None:
    """With SGD: Adam undoes most of a clipping, and rounding decides how it moves a weight whose gradient is next to
    nothing. The decay comes before the optimizer's own step, whichever it is."""
    _, plain, _ = stepped(tiny_problem, PLAIN, steps=3)
    initial, ours, network = stepped(tiny_problem, refinements, steps=3)
    train, _, _ = tiny_problem.parts(0, 32, Clock())
    network.reset(seed=1, dropout=0.0)
    decay, clip = refinements.weight_decay or None, refinements.clip_norm or None
    rule = keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=True, weight_decay=decay, clipnorm=clip)
    if decay:
        rule.exclude_from_weight_decay(var_list=[v for v in network.trainable_variables() if len(v.shape) < 2])
    layers = [*network.frozen_layers, *network.trainable_layers, *network.head]
    model = keras.Sequential([keras.Input(train.inputs.shape[1:]), *layers])
    model.compile(rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    for number in range(3):
        rows = slice(32 * number, 32 * number + 32)
        model.train_on_batch(train.inputs[rows], train.labels[rows])
    changed = 0
    for start, found, variable, without in zip(initial, ours, network.trainable_variables(), plain, strict=True):
        assert np.abs(found - as_numpy(variable)).max() < 2e-3 * np.abs(found - start).max()
        changed += not np.allclose(found, without, rtol=1e-6, atol=0)
    assert changed > 0


def test_smoothed_and_mixed_labels_are_those_of_the_formulas() -> None:
    draws = np.random.default_rng(0)
    labels, images = np.array([2, 0, 1, 2]), draws.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    weights = np.array([1, 2, 1, 0], np.float32)
    smoothed = shares(labels, 3, 0.3)
    assert np.allclose(smoothed, 0.7 * np.eye(3)[labels] + 0.1) and np.allclose(smoothed.sum(axis=1), 1)
    mixing = Mixing(Refinements(mixup=0.4, label_smoothing=0.3), 3, seed=5)
    inputs, targets, counted = mixing.of(images, labels, weights)
    again = np.random.default_rng([5, 3])
    share, partners = np.float32(again.beta(0.4, 0.4)), again.permutation(4)
    partners = np.where((weights > 0) & (weights[partners] > 0), partners, np.arange(4))
    assert 0 < share < 1 and partners.tolist() != [0, 1, 2, 3]
    assert np.allclose(inputs, share * images + (1 - share) * images[partners].astype(np.float32))
    assert np.allclose(targets, share * smoothed + (1 - share) * smoothed[partners])
    assert np.allclose(counted, share * weights + (1 - share) * weights[partners]) and counted[3] == 0
    assert np.array_equal(mixed(images, np.arange(4), share), share * images + (1 - share) * images)


def test_the_loss_of_shares_of_classes_is_the_cross_entropy() -> None:
    draws = np.random.default_rng(1)
    logits, labels = draws.normal(size=(6, 4)).astype(np.float32), draws.integers(0, 4, 6)
    weights = np.array([1, 2, 0.5, 1, 1, 0], np.float32)
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for smoothing in (0.0, 0.2):
        targets = shares(labels, 4, smoothing)
        expected = (weights * -(targets * log_shares).sum(axis=1)).sum() / 5
        assert float(as_numpy(cross_entropy(logits, targets, weights))) == pytest.approx(expected, rel=1e-5)
    hard = float(as_numpy(cross_entropy(logits, labels, weights)))
    assert hard == pytest.approx(float(as_numpy(cross_entropy(logits, shares(labels, 4, 0.0), weights))), rel=1e-6)


def test_augmentation_is_the_same_for_a_seed_and_new_in_every_epoch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    labels, weights = np.arange(6), np.ones(6, np.float32)

    def epochs(seed: int) -> list[np.ndarray]:
        mixing = Mixing(Refinements(augmentation=0.5), 6, seed, flip=True)
        return [as_numpy(mixing.of(images, labels, weights)[0]) for _ in range(2)]

    first, second = epochs(1)
    assert np.array_equal(first, epochs(1)[0]) and np.array_equal(second, epochs(1)[1])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epochs(2)[0])
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 255
    grey = Mixing(Refinements(augmentation=0.5), 6, 1).of(images[..., 0], labels, weights)[0]
    assert as_numpy(grey).shape == images.shape


def test_a_batch_is_left_as_it_is_without_refinements() -> None:
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])
    found = Mixing(PLAIN, 2, 0).of(images, labels, ONES[:2])
    assert found[0] is images and found[1] is labels


def curve(problem: Problem, refinements: Refinements, seed: int = 1, epochs: int = 4) -> tuple[Network, list[EpochEnd]]:
    train, validation, _ = problem.parts(0, 32, Clock())
    network = problem.networks.for_strategy(WHOLE, 0)
    schedule = Schedule(epochs, 32, "adam", 1e-3, refinements)
    step = compile_step(problem.steps, network, train, validation, schedule, Clock())
    network.reset(seed=seed, dropout=0.0)
    return network, list(fit(network, step, train, validation, schedule, Clock(), seed=seed))


def test_the_last_epochs_are_averaged_at_the_end(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[list[np.ndarray]] = []
    network, plain = curve(tiny_problem, PLAIN)
    from harness.training.averaging import Average

    add = Average.add

    def watched(self: Average) -> None:
        held.append([as_numpy(variable) for variable in network.trainable_variables()])
        add(self)

    monkeypatch.setattr(Average, "add", watched)
    same, averaged = curve(tiny_problem, Refinements(averaging=0.5))
    assert same is network and len(held) == 2, "half of four epochs"
    for variable, *values in zip(network.trainable_variables(), *held, strict=True):
        assert np.allclose(as_numpy(variable), np.mean(values, axis=0), atol=1e-7)
    assert averaged[:3] == plain[:3], "nothing else changes"
    assert averaged[3] != plain[3]


REFINED = replace(
    WHOLE, optimizer="adam", planned_epochs=2,
    refinements=Refinements(0.5, 0.9, 0.01, 0.1, 1.0, 0.4, 0.2, 0.5),
)  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "two_phase",
        pytest.param("fine_tune_all", marks=pytest.mark.large),
        pytest.param("from_scratch", marks=pytest.mark.large),
    ],
)
def test_a_refined_trial_that_is_retried_gives_the_same(tiny_problem: Problem, kind: str) -> None:
    changes: dict[str, Any] = {"kind": kind}
    if kind == "two_phase":
        changes |= {"head_epochs": 1, "rate_factor": 0.1}
    if kind == "from_scratch":
        changes["refinements"] = replace(REFINED.refinements, body_rate=1.0, layer_decay=1.0)
    refined = replace(REFINED, **changes)
    seen: list[int] = []

    def kill(curve: object) -> None:
        seen.append(len(curve))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    whole = run_trial(refined, tiny_problem, seed=3, on_checkpoint=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        run_trial(refined, tiny_problem, seed=3, on_checkpoint=kill)
    again = run_trial(refined, tiny_problem, seed=3, on_checkpoint=lambda _: None)
    assert whole.status == "complete" and len(whole.curve) == 2, "as many epochs as the strategy has, not the study"
    figures = [(c.train_loss, c.val_loss, c.val_accuracy, c.train_flops) for c in whole.curve]
    assert figures == [(c.train_loss, c.val_loss, c.val_accuracy, c.train_flops) for c in again.curve]
    plain = run_trial(replace(refined, refinements=PLAIN), tiny_problem, seed=3, on_checkpoint=lambda _: None)
    assert plain.train_flops == whole.train_flops, "refinements are charged nothing"
    assert plain.train_loss != whole.train_loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": -0.1}, "weight_decay is -0.1: give 0 to 1"),
        ({"body_rate": 0.0}, "body_rate is 0.0: give 0.0001 to 1"),
        ({"label_smoothing": 0.9}, "label_smoothing is 0.9: give 0 to 0.5"),
    ],
)
def test_a_value_out_of_range_is_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Refinements(**changes)


def test_refinements_that_mean_nothing_for_a_strategy_are_refused() -> None:
    frozen = Strategy("feature_extraction", 13, "average", (), 0.0, "adam", 1e-2)
    with pytest.raises(ValueError, match="no pretrained layers that train"):
        replace(frozen, refinements=Refinements(body_rate=0.1))
    with pytest.raises(ValueError, match="needs frozen=0"):
        replace(frozen, refinements=Refinements(mixup=0.1))
    with pytest.raises(ValueError, match="leave none after"):
        Strategy("two_phase", 0, "average", (), 0.0, "adam", 1e-2, head_epochs=3, rate_factor=0.1, planned_epochs=3)
