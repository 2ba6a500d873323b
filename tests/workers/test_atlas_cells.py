"""The atlas on the tiny network: cells, resuming, verdicts from rows, and the page."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness import atlas
from harness.core.results import TrialResult
from harness.core.spec import DatasetSpec, DataSpec
from harness.data.dataset import draw
from harness.storage.store import Store
from harness.strategy_search import worker
from harness.workers import atlas_cells
from tests.helpers.whole import copy_is_whole


@pytest.fixture(autouse=True)
def _two_sets(tiny_vgg16: None, digits: DatasetSpec) -> None:
    """Use the tiny network and two data sets."""
    shutil.copy(digits.file, "others.npz")


def run(*more: str) -> int:
    sizes = ["--sizes", "12,24", "--seeds", "2", "--validation-size", "30"]
    return atlas.main(["--data", "digits.toml", "--data", "others.npz", *sizes, *more])


@pytest.mark.large
def test_every_cell_is_a_study_and_a_second_run_repeats_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == 0, capsys.readouterr().err
    store = Store("sqlite:///results/harness.db")
    assert len(store.studies.names()) == 8
    trials = store.trials.frame("atlas/others/24/1")
    assert trials["origin"].tolist() == ["advice"] + 5 * ["quota"]
    assert trials["strategy"].tolist()[0] == "freeze_first_k"  # 24 images are few, 0.3 is far
    row = store.studies.find("atlas/others/24/1")
    assert row is not None
    assert [score["k"] for score in row.data["layer_scores"]] == list(range(1, 14))
    page = (tmp_path / "results" / "atlas.html").read_text()
    assert "Scenario 2" in page and "others" in page
    rows = json.loads((tmp_path / "results" / "atlas.json").read_text())
    assert len(rows) == 8 * 6
    capsys.readouterr()
    monkeypatch.setattr(atlas_cells, "draw", lambda *_: pytest.fail("nothing is left to run"))
    assert run() == 0
    assert "atlas/digits" not in capsys.readouterr().out
    monkeypatch.setattr(atlas_cells, "run_atlas", lambda *_: pytest.fail("rows are enough for the page"))
    assert atlas.main(["--rows", "results/atlas.json", "--large-at", "20", "--out", "large.html"]) == 0
    assert "Scenario 3 (large, not similar: from_scratch): undecided, no place" not in Path("large.html").read_text()


def test_subsets_are_nested_and_stratified(digits: DatasetSpec) -> None:
    whole = draw(digits, DataSpec(dataset="digits", validation_size=30), 0)
    small, large = atlas_cells.nested(whole, 40), atlas_cells.nested(whole, 90)
    assert small.parts.train.tolist() == large.parts.train[:40].tolist()
    assert set(large.parts.train) <= set(whole.parts.train) and len(set(large.parts.train)) == 90
    assert small.parts.validation is whole.parts.validation
    labels = whole.listing.labels
    shares = np.bincount(labels[small.parts.train]) / 40 - np.bincount(labels[whole.parts.train]) / 150
    assert np.abs(shares).max() <= 1 / 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no data set given"),
        (["--data", "digits.toml", "--data", "digits.toml"], "two sets have the same name"),
        (["--data", "nowhere.npz"], "there is no file or folder 'nowhere.npz'"),
        (["--data", "digits.toml", "--sizes", "0"], "--sizes 0"),
        (["--data", "digits.toml", "--seeds", "0"], "--seeds 0: give 1 or more"),
        (["--data", "digits.toml", "--image-size", "16"], "--image-size 16: give 32 or more"),
        (["--rows", "digits.toml"], "cannot be read as the rows of an atlas"),
        (["--data", "digits.toml", "--similar-below", "-1"], "--similar-below -1.0: give numbers over 0"),
    ],
)
def test_invalid_options_are_reported(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert atlas.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_size_too_large_for_a_data_set_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "run_trial", lambda *_, **__: TrialResult("complete", 1e9, 1e9, 0.5))
    flags = ["--sizes", "12,5000", "--seeds", "1", "--validation-size", "30"]
    assert atlas.main(["--data", "digits.toml", *flags]) == 0
    assert "atlas/digits/5000/0: left out, digits has 150 training images" in capsys.readouterr().out
    copy_is_whole(tmp_path / "results" / "harness.db", "atlas/digits/12/0", trial=6, session=1)
    assert Store("sqlite:///results/harness.db").studies.names() == ["atlas/digits/12/0"]
