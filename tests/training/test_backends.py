"""The same trials on Keras's TensorFlow and JAX backends: a GPU machine may have JAX only."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ON_JAX, ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install '.[jax]'"
)

SCRIPT = """
import json, sys
from pathlib import Path
from harness.data.dataset import load_split
from harness.training.problem import Problem
from harness.core.refinements import Refinements
from harness.core.spec import StudySpec
from harness.core.strategy import Strategy
from harness.training.trial import run_trial
from tests.helpers.tiny import tiny_backbone

spec, dataset = StudySpec.load(sys.argv[1])
problem = Problem.on(tiny_backbone(), spec, load_split(dataset, spec), Path(sys.argv[2]))
curves = []
for strategy in [
    Strategy("feature_extraction", 13, "average", (16,), 0.0, "adam", 3e-3, image_size=32),
    Strategy("freeze_first_k", 5, "max", (), 0.0, "sgd", 1e-3, image_size=32),
    Strategy("fine_tune_all", 0, "flatten", (), 0.0, "adam", 1e-3, image_size=32),
    Strategy("feature_extraction", 13, "average", (16,), 0.0, "adam", 3e-3, image_size=32),
    Strategy("from_scratch", 0, "average", (8,), 0.0, "adam", 1e-3, image_size=32),
    Strategy(
        "fine_tune_all", 0, "average", (), 0.0, "adam", 1e-3, image_size=32, planned_epochs=3,
        refinements=Refinements(0.1, 0.9, 0.01, 0.1, 1.0, 0.0, 0.2, 0.5),  # augmentation draws by the backend
    ),
    Strategy("two_phase", 10, "average", (), 0.0, "adam", 1e-3, 1, 0.1, image_size=32),
    Strategy("feature_extraction", 13, "average", (), 0.0, "sgd", 1e-3, image_size=32),  # the first phase's head
]:
    result = run_trial(strategy, problem, seed=1, on_checkpoint=lambda curve: None)
    assert result.status == "complete", result
    curves.append([[point.train_loss, point.val_loss, point.val_accuracy] for point in result.curve])
broken = Strategy("freeze_first_k", 10, "average", (), 0.0, "sgd", 1e30, image_size=32)
sound = Strategy("freeze_first_k", 10, "average", (), 0.0, "sgd", 1e-3, image_size=32)
after = [run_trial(strategy, problem, seed=1, on_checkpoint=lambda curve: None) for strategy in (sound, broken, sound)]
assert after[0].val_loss == after[2].val_loss is not None, "one trial poisons the next"
print(json.dumps(curves))
"""


def curves(backend: str, study: Path, folder: Path) -> list[list[list[float]]]:
    outcome = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(study), str(folder / backend)],
        cwd=ROOT,
        env=os.environ | (ON_JAX if backend == "jax" else {"KERAS_BACKEND": backend}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    found: list[list[list[float]]] = json.loads(outcome.stdout)
    return found


@pytest.mark.large  # another process that imports JAX and compiles
def test_what_is_ours_on_jax_does_as_its_own() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/helpers/on_jax.py"],
        cwd=ROOT,
        env=os.environ | ON_JAX,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.large  # a minute: JAX compiles each shape
def test_jax_trains_as_tensorflow_does(study_file: Path, tmp_path: Path) -> None:
    on_tensorflow, on_jax = (curves(backend, study_file, tmp_path) for backend in ("tensorflow", "jax"))
    # Rounding differs from the first convolution on, and each step carries it further: .26 % was seen.
    for a, b in zip(on_tensorflow, on_jax, strict=True):
        assert b == [pytest.approx(point, rel=1e-2, abs=1e-4) for point in a]
    assert on_jax[0] == on_jax[3]  # nothing of one trial is left for the next
