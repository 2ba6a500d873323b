"""The sampler, and the random seeds of trials."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return a TPE sampler seeded by the trial's number: a fixed seed would repeat points on resume and in every
    worker."""
    with experimental():
        return optuna.samplers.TPESampler(
            seed=trial_seed(seed, number) ^ 0x5EED,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=10,
        )


@contextmanager
def experimental() -> Iterator[None]:
    """Silence Optuna's warnings about experimental features: its version is bounded, and users can do nothing about
    them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def trial_seed(base: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{base}/{number}".encode()).digest()[:4], "little") >> 1
