"""What frozen features tell of the classes of a data set."""

import numpy as np

from harness.guidance.measure import SCORED
from harness.rules.probes import probe


def test_scores_do_not_depend_on_the_order_of_the_images() -> None:
    """A folder lists one class after the other, so that the first images are of one class."""
    labels = np.repeat([0, 1], SCORED)
    noise = np.random.default_rng(1).normal(size=(len(labels), 6)).astype(np.float32)
    telling = noise + labels[:, None].astype(np.float32)
    found, of_noise = probe(telling, labels), probe(noise, labels)
    assert found.h_score > 0.2 > 0.05 > of_noise.h_score and found.logme > of_noise.logme + 0.1
