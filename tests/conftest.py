"""What every test shares. The markers are declared in pyproject.toml."""

import os
from pathlib import Path

import pytest

# Before anything imports TensorFlow: it reads this once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and weights, beside the checkout or where HARNESS_SHARED points."""
    folder = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with data sets and weights: set HARNESS_SHARED to it")
    return folder
