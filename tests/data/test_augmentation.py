"""Views: their contents, that each is cached and counted once, and that epochs use them in turn."""

from typing import Any

import numpy as np
import pytest

from harness.backbones.described import architecture_of
from harness.core.backbone import BackboneSpec
from harness.core.clock import Clock
from harness.core.errors import SpecError
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.data.augmentation import SHIFT, view
from harness.data.dataset import Images
from harness.training.baselines import run_baseline
from harness.training.fit import compile_step, fit
from harness.training.flops import trial_cost
from harness.training.problem import Problem
from harness.training.schedule import Schedule
from harness.training.trial import run_trial

ARCHITECTURE = architecture_of(BackboneSpec.load("vgg16"))

DRAWS = np.random.default_rng(0)


def images(*shape: int) -> Images:
    return Images(DRAWS.integers(0, 256, shape, dtype=np.uint8), np.arange(shape[0]) % 3)


def with_views(problem: Problem, views: int, **changes: Any) -> Problem:
    data = problem.spec.data.model_copy(update={"views": views, **changes})
    return Problem(problem.spec.model_copy(update={"data": data}), *list(vars(problem).values())[1:])


@pytest.mark.parametrize("shape", [(20, 16, 24), (20, 16, 24, 3)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_view_shifts_each_image_and_may_mirror_it(shape: tuple[int, ...], flip: bool) -> None:
    original = images(*shape)
    seen = view(original, 1, flip=flip).pixels[:]
    assert seen.shape == shape and seen.dtype == np.uint8
    down, right = 16 // SHIFT, 24 // SHIFT
    mirrored = 0
    for before, after in zip(original.pixels, seen, strict=True):
        # The centre, which edge padding does not reach, is an exact crop of the image.
        middle = after[down:-down, right:-right]
        places = [(y, x) for y in range(2 * down + 1) for x in range(2 * right + 1)]
        height, width = middle.shape[:2]
        unmirrored = any(np.array_equal(before[y : y + height, x : x + width], middle) for y, x in places)
        flipped = any(np.array_equal(before[:, ::-1][y : y + height, x : x + width], middle) for y, x in places)
        assert unmirrored or flipped
        mirrored += not unmirrored
    assert (0 < mirrored < 20) if flip else mirrored == 0


def test_views_are_reproducible_for_any_selection_of_rows() -> None:
    original = images(30, 16, 16)
    one, again, other = (view(original, i, flip=True) for i in (1, 1, 2))
    rows = np.array([3, 29, 3])
    assert np.array_equal(one.pixels[rows], again.pixels[:][rows])
    assert np.array_equal(one.pixels[10:20], again.pixels[:][10:20])
    assert not np.array_equal(one.pixels[:], other.pixels[:])
    assert len({i.digest() for i in (original, one, other, view(original, 1, flip=False))}) == 4
    assert one.digest() == again.digest() and view(original, 0, flip=True) is original


def test_every_view_is_cached_and_counted_once(tiny_problem: Problem) -> None:
    problem = with_views(tiny_problem, 2)
    strategy = Strategy("feature_extraction", 13, "average", (), 0.0, "adam", 1e-3, image_size=32)
    alone = run_trial(strategy, tiny_problem, seed=1, on_checkpoint=lambda _: None)
    first, again = (run_trial(strategy, problem, seed=1, on_checkpoint=lambda _: None) for _ in range(2))
    assert (first.features_cached, again.features_cached) == (False, True)
    assert first.seconds.features > alone.seconds.features
    prefix = tiny_problem.cost(strategy).prefix * len(tiny_problem.split.train)
    assert first.train_flops == pytest.approx(alone.train_flops + prefix)
    assert first.curve[0].train_loss == alone.curve[0].train_loss, "the first epoch sees the images as they are"
    assert first.curve[1].train_loss != alone.curve[1].train_loss
    assert (
        trial_cost(ARCHITECTURE, strategy, 10, 1000, 10**12, 3).prefix
        == 3 * trial_cost(ARCHITECTURE, strategy, 10, 1000, 10**12).prefix
    )


def test_cached_views_and_views_made_on_the_fly_train_equally(tiny_problem: Problem) -> None:
    problem = with_views(tiny_problem, 2, flip=True)
    strategy = Strategy("freeze_first_k", 10, "average", (), 0.0, "adam", 3e-3, image_size=32)
    curves = []
    for start in (10, 0):
        train, validation, _ = problem.parts(start, 32, Clock())
        network = problem.networks.for_strategy(strategy, start)
        schedule = Schedule(3, 32, "adam", 3e-3)
        step = compile_step(problem.steps, network, train, validation, schedule, Clock())
        network.reset(seed=1, dropout=0.0)
        network.calibrate(train.inputs[:32])
        curves.append(list(fit(network, step, train, validation, schedule, Clock(), seed=1)))
    for stored, made in zip(*curves, strict=True):
        assert stored.train_loss == pytest.approx(made.train_loss, rel=1e-5)


def test_baselines_use_the_views(tiny_problem: Problem) -> None:
    for name in ("linear_probe", "mlp"):
        alone, viewed = (run_baseline(name, with_views(tiny_problem, n), seed=1) for n in (1, 2))  # type: ignore[arg-type]
        assert viewed.status == "complete" and viewed.val_loss != alone.val_loss


def test_more_views_than_epochs_are_refused(study_file: Any) -> None:
    assert StudySpec.load(str(study_file), {"data.views": 2})[0].data.flip is False
    with pytest.raises(SpecError, match=r"data\.views 3 are more than the 2 of budget\.epochs"):
        StudySpec.load(str(study_file), {"data.views": 3})
