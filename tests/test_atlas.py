"""The atlas: cells on the tiny network, resuming, verdicts recomputed from rows, the page."""

import json
import shutil
from pathlib import Path

import pytest

from harness import atlas, cells
from harness.similarity import Similarity
from harness.spec import DatasetSpec
from harness.store import Store
from tests.tiny import tiny_backbone, tiny_weights

FAR = Similarity(distance=0.3, error=0.01, n_images=90, cubic=1.0, frechet=5e4, earth_mover=210.0)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: DatasetSpec) -> None:
    """The tiny network in place of VGG16, two data sets in a fresh folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cells, "load_weights", lambda _: tiny_weights())
    monkeypatch.setattr(cells, "measure_similarity", lambda images, weights: FAR)
    monkeypatch.setattr(cells.Backbone, "vgg16", lambda weights, size: tiny_backbone(size))
    shutil.copy(digits.file, "others.npz")


def run(*more: str) -> int:
    sizes = ["--sizes", "12,24", "--seeds", "2", "--validation-size", "30"]
    return atlas.main(["--data", "digits.toml", "--data", "others.npz", *sizes, *more])


def test_every_cell_is_a_study_and_a_second_run_does_nothing_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == 0, capsys.readouterr().err
    store = Store("sqlite:///results/harness.db")
    assert len(store.study_names()) == 8
    trials = store.trials("atlas/others/24/1")
    assert trials["origin"].tolist() == ["advice"] + 5 * ["quota"]
    assert trials["strategy"].tolist()[0] == "freeze_first_k"  # 24 images are few, 0.3 is far
    row = store.study("atlas/others/24/1")
    assert row is not None
    assert [score["k"] for score in row.data["layer_scores"]] == list(range(1, 14))
    page = (tmp_path / "results" / "atlas.html").read_text()
    assert "Scenario 2" in page and "others" in page
    rows = json.loads((tmp_path / "results" / "atlas.json").read_text())
    assert len(rows) == 8 * 6
    capsys.readouterr()
    monkeypatch.setattr(cells, "load_split", lambda *_: pytest.fail("nothing is left to run"))
    assert run() == 0
    assert "atlas/digits" not in capsys.readouterr().out
    monkeypatch.setattr(cells, "run_atlas", lambda *_: pytest.fail("rows are enough for the page"))
    assert atlas.main(["--rows", "results/atlas.json", "--large-at", "20", "--out", "large.html"]) == 0
    assert "Scenario 3 (large, not similar: from_scratch): undecided, no place" not in Path("large.html").read_text()
