"""Temperature scaling on logits whose right temperature is known."""

from itertools import pairwise

import numpy as np
import pytest

from harness.core.calibration import Calibration, calibration_error


def drawn(temperature: float, n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are ``temperature`` times too large for their labels."""
    draws = np.random.default_rng(seed)
    logits = 2 * draws.normal(size=(n, 5))
    labels = (logits + draws.gumbel(size=logits.shape)).argmax(axis=1)
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_right_temperature_is_found(temperature: float) -> None:
    found = Calibration.fit(*drawn(temperature))
    assert found.temperature == found.fitted == pytest.approx(temperature, rel=0.1) and found.n == 4000
    assert found.loss[1] <= found.loss[0] and found.error[1] < 0.03
    assert found.error[1] < found.error[0] / 2
    assert found.gain[0] == pytest.approx(found.loss[0] - found.loss[1], rel=0.1)


def test_a_temperature_that_may_be_chance_is_left_out() -> None:
    """Right logits, and few images: what is fitted differs from 1, but is seldom taken."""
    found = [Calibration.fit(*drawn(1.0, n=60, seed=seed)) for seed in range(30)]
    assert np.std([each.fitted for each in found]) > 0.1
    taken = [each for each in found if each.temperature != 1]
    assert len(taken) < 10 and all(each.gain[0] > each.gain[1] for each in taken)
    assert all(each.loss[0] == each.loss[1] for each in found if each.temperature == 1)


@pytest.mark.parametrize("n", [1, 4])
def test_so_few_images_tell_nothing(n: int) -> None:
    found = Calibration.fit(*drawn(3.0, n=n))
    assert found.temperature == 1 and found.gain == (0, 0) and found.n == n


def test_rejecting_more_leaves_what_is_surer() -> None:
    found = Calibration.fit(*drawn(3.0)).rejections
    assert [each.threshold for each in found] == [step / 100 for step in range(101)]
    assert found[0].rejected == 0 and all(a.rejected <= b.rejected for a, b in pairwise(found))
    assert found[90].accuracy is not None and found[90].accuracy == pytest.approx(0.96, abs=0.04)


def test_all_right_and_sure() -> None:
    logits = np.eye(3).repeat(4, axis=0) * 50
    found = Calibration.fit(logits, np.arange(3).repeat(4))
    assert found.loss[1] <= found.loss[0] and found.error[1] == pytest.approx(0, abs=1e-6)
    assert found.rejections[100].accuracy in (1, None)


def test_the_error_is_the_mean_gap() -> None:
    assert calibration_error(np.array([0.8, 0.8, 0.8, 0.8]), np.array([True, True, False, False])) == pytest.approx(0.3)
    assert calibration_error(np.array([1.0, 0.5]), np.array([True, False])) == pytest.approx(0.25)
