"""What every test shares. The markers are declared in pyproject.toml."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.spec import DatasetSpec, StudySpec

if TYPE_CHECKING:
    from harness.problem import Problem

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on PostgreSQL stay in one process: two that start their first server at once stand in each other's way.
    Those in a browser stay in two: each has one browser and one set of pages for all. These long rows are begun first,
    and whole runs next, so that no process is left with one of them at the end."""
    browsers = 0
    for item in items:
        if item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.xdist_group("postgres"))
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group(f"browser {browsers % 2}"))
            browsers += 1
    items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is None, "test_run" not in item.nodeid))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and weights, beside the checkout or where HARNESS_SHARED points."""
    folder = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with data sets and weights: set HARNESS_SHARED to it")
    return folder


@pytest.fixture(autouse=True)
def _float32() -> Iterator[None]:
    """A study that a test has run leaves its precision, which is the machine's, to the process."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def digits(tmp_path: Path) -> DatasetSpec:
    """A data set of 240 grey 12x12 pictures in three classes: a bar in one of three places, and noise."""
    draws = np.random.default_rng(7)
    labels = np.arange(240) % 3
    images = draws.integers(0, 60, (240, 12, 12), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 3] += 150
    split = np.where(np.arange(240) < 180, "train", "test")
    np.savez(tmp_path / "digits.npz", images=images, labels=labels, split=split, class_names=np.array(["a", "b", "c"]))
    toml = 'name = "digits"\nfile = "digits.npz"\nsimilar_to_imagenet = false\nsource = "made by the tests"\n'
    (tmp_path / "digits.toml").write_text(toml)
    return DatasetSpec.load("digits.toml", tmp_path)


@pytest.fixture
def study_file(digits: DatasetSpec, tmp_path: Path) -> Path:
    """A study of `digits` that takes seconds on the tiny network."""
    path = tmp_path / "tiny.toml"
    path.write_text(
        """
        name = "tiny"
        seed = 0
        [data]
        dataset = "digits.toml"
        train_size = 96
        validation_size = 48
        test_size = 30
        image_size = 32
        [search]
        head_width = [4, 4096]
        [search.learning_rate]
        feature_extraction = [1e-4, 1e-2]
        freeze_first_k = [1e-5, 1e-2]
        fine_tune_all = [1e-5, 1e-2]
        from_scratch = [1e-5, 1e-2]
        [budget]
        trials = 8
        epochs = 2
        batch_size = 32
        [baselines]
        epochs = 2
        """
    )
    return path


@pytest.fixture
def tiny_problem(study_file: Path, tmp_path: Path) -> "Problem":
    """`study_file` on the tiny network, ready to run trials on."""
    from harness.data import load_split
    from harness.problem import Problem
    from tests.tiny import tiny_backbone

    spec, dataset = StudySpec.load(str(study_file))
    return Problem.on(tiny_backbone(spec.data.image_size), spec, load_split(dataset, spec.data, 0), tmp_path / "cache")
