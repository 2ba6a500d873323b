"""The memory of a process that runs many trials. Marked large for the minute it takes."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from benchmarks.memory import resident
from harness.core.spec import StudySpec
from harness.data.dataset import load_split
from harness.training.problem import Problem
from tests.helpers.tiny import tiny_backbone

TRIALS = 70


def _megabytes(study_file: Path, cache: Path) -> list[float]:
    """The benchmark's curve on the tiny network."""
    spec, dataset = StudySpec.load(str(study_file), {"budget.epochs": 1})
    split = load_split(dataset, spec)
    problem = Problem.on(tiny_backbone(), spec, split, cache)
    return list(resident(problem, TRIALS))


@pytest.mark.large
def test_memory_hardly_grows_from_trial_to_trial(study_file: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:  # one that has run nothing
        found = process.submit(_megabytes, study_file, tmp_path / "cache").result()
    assert found[-1] - found[9] < 100 * (TRIALS - 10) / 190, "100 MB from trial 10 to trial 200"
