"""The fit loop: what moves and what does not, cached against uncached, the optimizers, the schedule."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.batches import batches
from harness.backbones.devices import as_numpy
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock
from harness.core.spec import StudySpec
from harness.core.strategy import N_CONVS, OptimizerName, Strategy
from harness.data.dataset import load_split
from harness.training.fit import (
    Diverged,
    EpochEnd,
    Part,
    compile_step,
    evaluate,
    fit,
    steps,
)
from harness.training.networks import Network, Networks
from harness.training.objective import adam, sgd
from harness.training.problem import Problem
from harness.training.schedule import Schedule
from tests.helpers.small_network import small_spec
from tests.helpers.tiny import OTHERS, tiny_backbone, untrained


def strategy(k: int, *, head: tuple[int, ...] = (), rate: float = 3e-3, optimizer: OptimizerName = "adam") -> Strategy:
    kind = "feature_extraction" if k == N_CONVS else "freeze_first_k" if k else "fine_tune_all"
    return Strategy(kind, k, "average", head, 0.0, optimizer, rate, image_size=32)


def trained(
    problem: Problem, tried: Strategy, start: int, *, seed: int = 1, epochs: int = 2, dropout: float = 0.0
) -> tuple[Network, list[EpochEnd]]:
    train, validation, _ = problem.parts(start, 32, Clock())
    network = problem.networks.for_strategy(tried, start)
    schedule = Schedule(epochs, 32, tried.optimizer, tried.learning_rate)
    step = compile_step(problem.steps, network, train, validation, schedule, Clock())
    network.reset(seed=seed, dropout=dropout, pretrained=tried.pretrained)
    network.calibrate(train.inputs[:32])
    return network, list(fit(network, step, train, validation, schedule, Clock(), seed=seed))


def plain(network: Network, part: Part) -> keras.Model:
    """The network's layers as Keras's own model."""
    return keras.Sequential(
        [keras.Input(part.inputs.shape[1:]), *network.frozen_layers, *network.trainable_layers, *network.head]
    )


@pytest.mark.parametrize("k", [0, 1, 2, 5, 12, 13])  # both ends, before and after a pool, and in the middle
def test_frozen_layers_stay_and_the_others_move(tiny_problem: Problem, k: int) -> None:
    trained(tiny_problem, strategy(k), tiny_problem.start(strategy(k)), epochs=1)
    for index, conv in enumerate(tiny_problem.backbone.layers):
        kernel, bias = tiny_problem.backbone.weights.tensors[conv.name]
        moved = not np.array_equal(as_numpy(conv.kernel), kernel), not np.array_equal(as_numpy(conv.bias), bias)
        assert moved == ((False, False) if index < k else (True, True)), conv.name


@pytest.mark.parametrize(("k", "start"), [(1, 1), (5, 5), (7, 6), (13, 13), (13, 7)])
def test_cached_and_uncached_training_agree(tiny_problem: Problem, k: int, start: int) -> None:
    # From the tiny network's first convolutions on, nothing is worth storing: the start is asked for by hand.
    _, cached = trained(tiny_problem, strategy(k), start, epochs=1)
    _, uncached = trained(tiny_problem, strategy(k), 0, epochs=1)
    for a, b in zip(cached, uncached, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-5)


@pytest.mark.parametrize("declared", [small_spec(), *OTHERS], ids=lambda declared: declared.name)
def test_every_backbone_is_frozen_cached_and_reset(declared: BackboneSpec, study_file: Path, tmp_path: Path) -> None:
    spec, dataset = StudySpec.load(str(study_file))
    backbone = untrained(declared)
    problem = Problem.on(backbone, spec, load_split(dataset, spec), tmp_path)
    k = len(backbone.stages) // 2
    tried = Strategy("freeze_first_k", k, "average", (), 0.0, "adam", 1e-3, image_size=32, backbone=declared.name)
    _, cached = trained(problem, tried, k, epochs=1)
    moved = [
        {
            (layer.name, variable.name): not np.array_equal(as_numpy(variable), tensor)
            for layer in backbone.layers
            if any(layer is inner for inner in stage.layers)
            for variable, tensor in zip(layer.weights, backbone.weights.tensors[layer.name], strict=True)
        }
        for stage in backbone.stages
    ]
    assert not any(any(stage.values()) for stage in moved[:k])
    # Normalization keeps the means and variances of the pretrained network.
    still = {name for stage in moved[k:] for name, does in stage.items() if not does}
    assert still == {name for stage in moved[k:] for name in stage if name[1].startswith("moving")}
    _, uncached = trained(problem, tried, 0, epochs=1)
    _, again = trained(problem, tried, k, epochs=1)
    assert again == cached
    for a, b in zip(cached, uncached, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-5)


def test_the_same_seed_gives_the_same_curve_whatever_ran_before(tiny_problem: Problem) -> None:
    tried = strategy(10, head=(16,))
    _, first = trained(tiny_problem, tried, 10, dropout=0.4)
    trained(tiny_problem, strategy(0), 0, seed=9)
    _, again = trained(tiny_problem, tried, 10, dropout=0.4)
    _, other = trained(tiny_problem, tried, 10, dropout=0.4, seed=2)
    assert first == again
    assert first != other


def test_dropout_is_a_run_time_value(tiny_problem: Problem) -> None:
    tried = strategy(10, head=(64,))
    network, without = trained(tiny_problem, tried, 10, dropout=0.0)
    again, with_dropout = trained(tiny_problem, tried, 10, dropout=0.5)
    assert again is network
    assert without[0].train_loss != with_dropout[0].train_loss
    values = np.ones((400, 64), np.float32)
    dropout = next(layer for layer in network.head if hasattr(layer, "rate"))
    dropped = as_numpy(dropout(values, training=True))
    assert np.mean(dropped == 0) == pytest.approx(0.5, abs=0.02)
    assert dropped.mean() == pytest.approx(1, abs=0.05)
    assert np.array_equal(as_numpy(dropout(values, training=False)), values)


@pytest.mark.parametrize("k", [0, 10, 13])
def test_the_head_starts_at_unit_scale(tiny_problem: Problem, k: int) -> None:
    network, _ = trained(tiny_problem, strategy(k), k, epochs=1)
    train, _, _ = tiny_problem.parts(k, 32, Clock())
    network.reset(seed=3, dropout=0.0)
    network.calibrate(train.inputs)
    values = train.inputs
    for layer in [*network.frozen_layers, *network.trainable_layers, *network.head[:2]]:
        values = layer(values)
    assert np.sqrt(np.mean(np.square(as_numpy(values)))) == pytest.approx(1, rel=1e-4)


def test_training_learns(tiny_problem: Problem) -> None:
    _, curve = trained(tiny_problem, strategy(0, rate=1e-2), 0, epochs=8)
    assert curve[-1].train_loss < 0.5 * curve[0].train_loss
    assert curve[-1].scores.accuracy > 0.8


def test_divergence_is_raised_at_once(tiny_problem: Problem) -> None:
    train, validation, _ = tiny_problem.parts(13, 32, Clock())
    broken = Part(np.full_like(train.inputs, np.nan), train.labels)
    network = tiny_problem.networks.for_strategy(strategy(13), 13)
    schedule = Schedule(8, 4, "adam", 1e-3)
    step = compile_step(tiny_problem.steps, network, broken, validation, schedule, Clock())
    network.reset(seed=0, dropout=0.0)
    with pytest.raises(Diverged, match=r"the loss is not finite after 0\.417 epochs"):
        list(fit(network, step, broken, validation, schedule, Clock(), seed=0))  # 10 of 24 steps


def test_networks_of_one_shape_are_shared_and_their_number_is_bounded(tiny_problem: Problem) -> None:
    first = tiny_problem.networks.for_strategy(strategy(13, head=(7,)), 13)
    assert tiny_problem.networks.for_strategy(strategy(13, head=(7,), rate=1e-2), 13) is first
    for width in range(20, 20 + tiny_problem.networks.KEPT):
        tiny_problem.networks.for_strategy(strategy(13, head=(width,)), 13)
    assert tiny_problem.networks.for_strategy(strategy(13, head=(7,)), 13) is not first


def test_wide_heads_push_out_others_but_not_themselves(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_problem.networks, "KEPT_VALUES", 500)
    narrow = tiny_problem.networks.for_strategy(strategy(13, head=(7,)), 13)
    assert tiny_problem.networks.for_strategy(strategy(13, head=(7,)), 13) is narrow
    wide = tiny_problem.networks.for_strategy(strategy(13, head=(64, 64)), 13)
    assert wide.head_size() > 500
    assert tiny_problem.networks.for_strategy(strategy(13, head=(64, 64)), 13) is wide
    assert tiny_problem.networks.for_strategy(strategy(13, head=(7,)), 13) is not narrow


@pytest.mark.parametrize("k", [0, 10, 13])
def test_a_network_that_is_dropped_leaves_no_head_behind(tiny_problem: Problem, k: int) -> None:
    kernels = []
    for width in range(20, 20 + 2 * tiny_problem.networks.KEPT):
        network = tiny_problem.networks.for_strategy(strategy(k, head=(width,)), k)
        kernels.append(weakref.ref(network.head[2].kernel))
    del network
    gc.collect()
    assert sum(kernel() is not None for kernel in kernels) == tiny_problem.networks.KEPT


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles for each shape")
def test_heads_of_any_width_share_a_graph_and_none_is_left_behind(tiny_problem: Problem) -> None:
    def fitted(k: int, start: int, *head: int) -> Network:
        network, _ = trained(problem, strategy(k, head=head), start, epochs=1, dropout=0.5)
        return network

    problem = replace(tiny_problem, networks=Networks(tiny_problem.backbone, 3), steps=steps())
    graphs = problem.steps._graph  # type: ignore[attr-defined]
    depths, kinds = [(13, 13), (11, 10)], [[(7, 5), (16, 3), (64, 9)], [()], [(1,), (3,)]]
    for depth in depths:
        for heads in kinds:
            for head in heads:
                fitted(*depth, *head)
    assert graphs.cache_info().misses == len(depths) * len(kinds)
    network = problem.networks.for_strategy(strategy(11, head=(16, 3)), 10)
    train, _, _ = problem.parts(10, 32, Clock())
    for compiled, is_new in ((problem.steps, False), (steps(), True)):
        step = compiled.of(network, "adam")
        assert step.is_new == is_new
        step.start()
        step.run(train.inputs[:32], train.labels[:32], np.ones(32, np.float32), 1e-3, 1)
        assert step._graph.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]
        slots = [weakref.ref(slot) for _, *slots in step._head for slot in slots]  # type: ignore[attr-defined]
        step.release()
        gc.collect()
        assert slots and not any(slot() for slot in slots)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX keeps what it has compiled")
def test_the_number_of_graphs_is_bounded(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.training import tensorflow_step

    monkeypatch.setattr(tensorflow_step, "_KEPT", 2)
    problem = replace(tiny_problem, networks=Networks(tiny_problem.backbone, 3), steps=steps())
    graphs = []
    for k in (11, 12, 13):
        network, _ = trained(problem, strategy(k), k, epochs=1)
        graphs.append(weakref.ref(problem.steps.of(network, "adam")._graph))  # type: ignore[attr-defined]
    gc.collect()
    assert [graph() is not None for graph in graphs] == [False, True, True]


def test_a_network_that_is_dropped_leaves_the_policy_and_the_kept_ones_as_they_are(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_problem.networks, "DROPPED", 1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        kept = tiny_problem.networks.for_strategy(strategy(10, head=(7,)), 0)
        kept.reset(seed=0, dropout=0.0)
        images = tiny_problem.split.train.pixels[:4]
        before = kept.logits(images)
        for width in range(20, 20 + 2 * tiny_problem.networks.KEPT):
            tiny_problem.networks.for_strategy(strategy(13, head=(width,)), 13)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        np.testing.assert_array_equal(kept.logits(images), before)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (adam, keras.optimizers.Adam(1e-2)),
        (sgd, keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True)),
    ],
)
def test_optimizers_are_those_of_keras(rule: object, optimizer: keras.optimizers.Optimizer) -> None:
    draws = np.random.default_rng(0)
    value = draws.normal(size=(5, 3)).astype(np.float32)
    variable = keras.Variable(value)
    momentum = mean_square = np.zeros_like(value)
    for step in range(1, 12):
        gradient = draws.normal(size=value.shape).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        value, momentum, mean_square = rule(gradient, value, momentum, mean_square, 1e-2, float(step))  # type: ignore[operator]
    assert np.allclose(as_numpy(value), as_numpy(variable), atol=1e-6)


@pytest.mark.parametrize(
    ("k", "start", "rate", "optimizer"),
    # Where the first block trains, Adam's steps of 1e-2 are larger than its weights, and rounding grows with each.
    [
        (0, 0, 1e-4, "adam"), (1, 0, 1e-4, "sgd"), (5, 3, 1e-2, "adam"), (10, 10, 1e-2, "sgd"),
        (13, 13, 1e-2, "adam"), (13, 13, 1e-2, "sgd"),
    ],
)  # fmt: skip
def test_a_compiled_step_is_keras_own(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, k: int, start: int, rate: float, optimizer: OptimizerName
) -> None:
    train, validation, _ = tiny_problem.parts(start, 32, Clock())
    for width in (9, 5):  # of which the second takes the first one's step
        network = tiny_problem.networks.for_strategy(strategy(k, head=(width,), optimizer=optimizer), start)
        schedule = Schedule(1, 32, optimizer, rate)
        compiled = compile_step(tiny_problem.steps, network, train, validation, schedule, Clock())
    network.reset(seed=2, dropout=0.0)
    compiled.start()
    batches = [slice(32 * step, 32 * step + 32) for step in range(3)]
    for step, rows in enumerate(batches, start=1):
        compiled.run(train.inputs[rows], train.labels[rows], np.ones(32, np.float32), rate, step)
    compiled.write_back()
    compiled.release()
    ours = [as_numpy(variable) for variable in network.trainable_variables()]
    network.reset(seed=2, dropout=0.0)
    initial = [as_numpy(variable) for variable in network.trainable_variables()]
    for conv in tiny_problem.backbone.layers[:k]:
        monkeypatch.setattr(conv, "trainable", False)
    rules = {"adam": keras.optimizers.Adam(rate), "sgd": keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)}
    model = plain(network, train)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(rules[optimizer], loss, run_eagerly=True)  # to compile three steps takes longer than to run them
    for rows in batches:
        model.train_on_batch(train.inputs[rows], train.labels[rows])
    for value, before, variable in zip(ours, initial, network.trainable_variables(), strict=True):
        found = as_numpy(variable)
        moved = np.abs(found - before).max()
        assert moved > 0
        assert np.allclose(value, found, atol=1e-6), variable.path
        assert np.abs(value - found).max() < 1e-3 * moved, variable.path


def test_evaluation_is_keras_own(tiny_problem: Problem) -> None:
    network, _ = trained(tiny_problem, strategy(5), 5)
    _, validation, _ = tiny_problem.parts(5, 32, Clock())
    found, constant = evaluate(network, validation)
    logits = plain(network, validation).predict(validation.inputs, verbose=0)
    losses = keras.losses.sparse_categorical_crossentropy(validation.labels, logits, from_logits=True)
    assert found.log_loss() == pytest.approx(float(np.mean(as_numpy(losses))), rel=1e-5)
    assert found.predicted.tolist() == logits.argmax(axis=1).tolist()
    assert found.labels.tolist() == validation.labels.tolist()
    probabilities = as_numpy(keras.ops.softmax(logits))
    assert found.probability.tolist() == pytest.approx(probabilities.max(axis=1).tolist(), rel=1e-4)
    assert not constant


def test_a_network_whose_units_are_dead_is_known_by_its_logits(tiny_problem: Problem) -> None:
    network, ends = trained(tiny_problem, strategy(5, head=(16,)), 5)
    _, validation, _ = tiny_problem.parts(5, 32, Clock())
    assert not any(end.constant for end in ends)
    one = Part(validation.inputs[:1], validation.labels[:1])
    assert not evaluate(network, one)[1], "one image tells nothing"
    (hidden,) = (layer for layer in network.head if layer.name == "hidden_1")
    hidden.bias.assign(np.full(hidden.bias.shape, -1e6, np.float32))
    assert evaluate(network, validation)[1]


@given(n=st.integers(1, 500), batch_size=st.integers(1, 130))
def test_batches_hold_every_row_once_in_one_shape(n: int, batch_size: int) -> None:
    cut = list(batches(n, batch_size))
    assert len({len(rows) for rows, _ in cut}) == 1
    assert len(cut[0][0]) <= batch_size
    counted = np.concatenate([rows[weights > 0] for rows, weights in cut])
    assert sorted(counted.tolist()) == list(range(n))
    assert len(cut) == -(-n // batch_size)


@given(steps=st.integers(1, 1000), rate=st.floats(1e-6, 1))
def test_the_rate_warms_up_to_its_peak_and_falls(steps: int, rate: float) -> None:
    schedule = Schedule(1, 1, "adam", rate)
    rates = [schedule.rate(step, steps) for step in range(steps)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(rate)
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert min(rates) > 0


def test_weights_of_zero_count_for_nothing(tiny_problem: Problem) -> None:
    _, validation, _ = tiny_problem.parts(13, 32, Clock())
    network = tiny_problem.networks.for_strategy(strategy(13), 13)
    network.reset(seed=0, dropout=0.0)
    part = Part(validation.inputs[:7], validation.labels[:7])
    twice = Part(np.repeat(part.inputs, 2, axis=0), np.repeat(part.labels, 2))
    found, _ = evaluate(network, part)
    of_two, _ = evaluate(network, twice)
    assert found.log_loss() == pytest.approx(of_two.log_loss())
    assert np.repeat(found.predicted, 2).tolist() == of_two.predicted.tolist()


def test_a_weight_counts_as_so_many_images(tiny_problem: Problem) -> None:
    train, validation, _ = tiny_problem.parts(13, 32, Clock())
    once = Part(train.inputs[:8], train.labels[:8], np.repeat(np.float32([1.5, 0.5]), 4))
    thrice = np.repeat(np.arange(8), [3] * 4 + [1] * 4)
    as_many = Part(train.inputs[thrice], train.labels[thrice])
    network = tiny_problem.networks.for_strategy(strategy(13, optimizer="sgd"), 13)
    schedule = Schedule(1, 16, "sgd", 1e-2)
    ends = []
    for part in (once, as_many):
        step = compile_step(steps(), network, part, validation, schedule, Clock())
        network.reset(seed=0, dropout=0.0)
        ends += fit(network, step, part, validation, schedule, Clock(), seed=0)
    assert ends[0].train_loss == pytest.approx(ends[1].train_loss, rel=1e-5)
    assert ends[0].val_loss == pytest.approx(ends[1].val_loss, rel=1e-5)


@pytest.mark.large
def test_bfloat16_learns_what_float32_does(tiny_problem: Problem) -> None:
    ends = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        problem = replace(tiny_problem, networks=Networks(tiny_backbone(), 3))
        tried = strategy(0, head=(16,), rate=1e-3)
        network, ends[policy] = trained(problem, tried, 0, dropout=0.3)
        convs = {layer.compute_dtype for layer in problem.networks._backbone.layers}
        assert convs == {"bfloat16" if policy == "mixed_bfloat16" else "float32"}
        assert {layer.compute_dtype for layer in network.head} == {"float32"}
        assert {variable.dtype for variable in network.trainable_variables()} == {"float32"}
    for full, half in zip(*ends.values(), strict=True):
        assert half.train_loss == pytest.approx(full.train_loss, rel=0.05)
        assert half.train_loss != full.train_loss


def test_passes_from_stored_activations_and_from_images_go_together(tiny_problem: Problem) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    first, second = tiny_backbone(), tiny_backbone()
    for backbone in (first, second):
        backbone.load(pretrained=True, seed=0)
    pixels = tiny_problem.split.train.pixels[:4]
    stored = as_numpy(first.forward(pixels, 0, 5, 32))
    assert stored.dtype == np.float32
    features = as_numpy(second.forward(stored, 5, N_CONVS, 32))  # a later study begins so: compiled for what is stored
    assert np.array_equal(as_numpy(second.forward(pixels, 0, N_CONVS, 32)), features)
    assert np.abs(features).max() > 0


def test_a_step_knows_nothing_of_vgg16_and_keeps_the_state_of_normalization() -> None:
    def layers() -> list[keras.layers.Layer]:
        return [keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D()]

    frozen, trainable, head = layers()[:2], layers(), [keras.layers.Dense(2, dtype="float32")]
    model = keras.Sequential([keras.Input((9, 9, 2)), *frozen, *trainable, *head])
    draws = np.random.default_rng(0)
    inputs, labels = draws.normal(size=(8, 9, 9, 2)).astype(np.float32), np.arange(8) % 2
    start = model.get_weights()
    for layer in frozen:
        layer.trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True), loss, run_eagerly=True)
    for _ in range(3):
        model.train_on_batch(inputs, labels)
    expected = model.get_weights()
    for layer in frozen:
        layer.trainable = True
    model.set_weights(start)
    network = Network(frozen, trainable, head, head, lambda values: values, 8, 9, training_mode=True)
    step = steps().of(network, "sgd")
    step.start()
    for number in range(1, 4):
        step.run(inputs, labels, np.ones(8, np.float32), 1e-2, number)
    step.write_back()
    moved = 0
    for value, its, before in zip(model.get_weights(), expected, start, strict=True):
        assert np.allclose(value, its, atol=1e-6)
        moved += not np.array_equal(value, before)
    assert moved == 8, "a kernel, a bias and four values of normalization; the head's two"
