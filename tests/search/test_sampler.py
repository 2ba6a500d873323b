"""Seeds of trials."""

from harness.search.sampler import trial_seed


def test_different_trials_have_different_seeds() -> None:
    assert len({trial_seed(base, number) for base in range(5) for number in range(200)}) == 1000
