"""Temperature scaling on logits whose right temperature is known."""

from itertools import pairwise

import numpy as np
import pytest

from harness.statistics.calibration import Calibration, calibration_error


def drawn(temperature: float, n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are ``temperature`` times too large for their labels."""
    draws = np.random.default_rng(seed)
    logits = 2 * draws.normal(size=(n, 5))
    labels = (logits + draws.gumbel(size=logits.shape)).argmax(axis=1)
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_right_temperature_is_found(temperature: float) -> None:
    found = Calibration.fit(*drawn(temperature))
    assert found.temperature == pytest.approx(temperature, rel=0.1) and found.n == 4000
    assert found.loss[1] <= found.loss[0] and found.error[1] < 0.03
    assert temperature == 1 or found.error[1] < found.error[0] / 2


def test_rejecting_more_leaves_what_is_surer() -> None:
    found = Calibration.fit(*drawn(3.0)).rejections
    assert [each.threshold for each in found] == [step / 100 for step in range(101)]
    assert found[0].rejected == 0 and all(a.rejected <= b.rejected for a, b in pairwise(found))
    assert found[90].accuracy is not None and found[90].accuracy == pytest.approx(0.96, abs=0.04)


def test_all_right_and_sure() -> None:
    logits = np.eye(3).repeat(4, axis=0) * 50
    found = Calibration.fit(logits, np.arange(3).repeat(4))
    assert found.loss[1] <= found.loss[0] and found.error[1] == pytest.approx(0, abs=1e-6)


def test_the_error_is_the_mean_gap() -> None:
    assert calibration_error(np.array([0.8, 0.8, 0.8, 0.8]), np.array([True, True, False, False])) == pytest.approx(0.3)
    assert calibration_error(np.array([1.0, 0.5]), np.array([True, False])) == pytest.approx(0.25)
