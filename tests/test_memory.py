"""The memory of a process that runs many trials. Marked large for the minute it takes."""

import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

from harness.data import load_split
from harness.problem import Problem
from harness.spec import StudySpec
from harness.strategy import ARTICLE_KINDS, N_CONVS, Strategy
from harness.trial import run_trial
from tests.tiny import tiny_backbone

TRIALS = 70


def _megabytes(study_file: Path, cache: Path) -> list[float]:
    """Resident memory after each trial, every one with a head of a new shape: nothing compiled can be re-used."""
    spec, dataset = StudySpec.load(str(study_file), {"budget.epochs": 1})
    split = load_split(dataset, spec.data, 0)
    problem = Problem.on(tiny_backbone(spec.data.image_size), spec, split, cache)
    found = []
    for number in range(TRIALS):
        kind = ARTICLE_KINDS[number % len(ARTICLE_KINDS)]
        frozen = {"feature_extraction": N_CONVS, "freeze_first_k": 1 + number % (N_CONVS - 1)}.get(kind, 0)
        strategy = Strategy(kind, frozen, "average", (64 + number, 64), 0.1, "adam", 1e-4)
        run_trial(strategy, problem, seed=number, on_checkpoint=lambda curve: None)
        gc.collect()
        found.append(psutil.Process().memory_info().rss / 2**20)
    return found


@pytest.mark.large
def test_memory_hardly_grows_from_trial_to_trial(study_file: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:  # one that has run nothing
        found = process.submit(_megabytes, study_file, tmp_path / "cache").result()
    assert found[-1] - found[9] < 100 * (TRIALS - 10) / 190, "100 MB from trial 10 to trial 200"
