"""`harness errors`: the page of a study of image files, and what is missing from it where something is gone."""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import confirm, errors, run
from harness.analysis.mistakes import Mistakes
from harness.core.spec import DatasetSpec
from harness.data.relabelling import read_decisions
from harness.data.sources import read_listing
from harness.storage.store import Store
from tests.helpers.exported import export

URL = "sqlite:///results/harness.db"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searched")


@pytest.fixture
def photos(tiny_vgg16: None, study_file: Path, digits: DatasetSpec, kept: Path) -> Iterator[Path]:
    """The image files of a study of three trials, searched once for all tests. They may be changed."""
    photos = kept / "photos"
    if not photos.exists():
        export(digits.file, kept / "whole", "folders")
        shutil.copytree(kept / "whole", photos)
        text = study_file.read_text().replace("[search]", '[search]\nstrategies = ["feature_extraction"]')
        study_file.write_text(text.replace("[4, 4096]", "[4, 16]").replace("[baselines]", "[baselines]\nnames = []"))
        assert run.main(["--study", "tiny.toml", "--data", str(photos), "--name", "tiny", "--trials", "3"]) == 0
        Store(URL).engine.dispose()
        shutil.copy("results/harness.db", kept)
    else:
        Path("results").mkdir()
        shutil.copy(kept / "harness.db", "results")
    yield photos
    shutil.rmtree(photos)
    shutil.copytree(kept / "whole", photos)


def page(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Write the page of the study and return it. What standard error says is on it too."""
    capsys.readouterr()
    assert errors.main(["--study", "tiny", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.out == "page: results/tiny.errors.html\n" and "Traceback" not in printed.err
    return Path("results/tiny.errors.html").read_text()


def notes(page: str) -> list[str]:
    """Return what the page says is left out, gone or changed."""
    return re.findall(r"<li>(.*?)</li>", page.partition('id="notes"')[2].partition("</ul>")[0])


def parts(page: str) -> set[str]:
    """Return the parts that the page's images are of."""
    texts = json.loads(re.search(r'id="texts">(.*?)</script>', page, re.DOTALL).group(1))
    return {part for _, part, *_ in texts}


def member(part: str, at: int = 0) -> Path:
    return Path(Store(URL).studies.split("tiny")[part][at][0])


def test_the_page_and_the_list_of_suspects(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page(capsys, "--csv", "suspects.csv", "--heat-maps")
    best = Store(URL).trials.frame("tiny").sort_values("val_accuracy").iloc[-1]
    found = Mistakes.read(Store(URL), "tiny")
    assert found is not None and np.isclose(1 - found.wrong.mean(), best["val_accuracy"])
    assert f"gets {found.wrong.sum()} of 48 validation images wrong" in text and notes(text) == []
    assert text.count('"heat":"data:image/jpeg') == min(found.wrong.sum(), 36)
    assert parts(text) <= {"train", "validation"}
    rows = list(csv.DictReader(Path("suspects.csv").read_text().splitlines()))
    assert all(row["decision"] == "keep" and row["label"] != row["suggested"] for row in rows)
    listing = read_listing(DatasetSpec(name="photos", file=photos))
    assert {row["file"] for row in rows} <= set(listing.files or ())
    assert read_decisions(Path("suspects.csv"), listing) == ()
    assert errors.main(["--study", "tiny", "--csv", "suspects.csv"]) == 2
    assert "may hold your decisions" in capsys.readouterr().err
    assert errors.main(["--study", "tiny", "--trial", "9"]) == 2
    assert "no predictions of trial 9 are kept: give --trial one of 0, 1, 2" in capsys.readouterr().err


def test_an_image_that_has_changed_is_found_by_its_content(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Size and time may stay; a file that is only written again has not changed."""
    changed, same = member("validation"), member("validation", 1)
    before = changed.stat()
    Image.new("L", (12, 12), 77).save(changed)
    with changed.open("ab") as file:
        file.write(bytes(max(before.st_size - changed.stat().st_size, 0)))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(same)
    text = page(capsys)
    name = changed.relative_to(photos)
    assert notes(text) == [f"images that have changed since the study began, which saw others: 1 (&#39;{name}&#39;)"]
    assert "Label suspects" in text


def test_a_training_image_that_is_gone(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone, unreadable = member("train"), member("validation")
    gone.unlink()
    unreadable.write_bytes(b"no image")
    text = page(capsys)
    left_out, *others = notes(text)
    assert left_out.startswith("label suspects and outliers are left out: the training and validation images of ")
    assert others == [
        f"images that are gone or cannot be opened: 1 (&#39;{gone.parent.name}/{gone.name}&#39;)",
        f"images that have changed since the study began, which saw others: 1 "
        f"(&#39;{unreadable.parent.name}/{unreadable.name}&#39;)",
    ]
    assert "no thumbnail: " in text and "Label suspects" not in text
    assert errors.main(["--study", "tiny", "--csv", "suspects.csv"]) == 2
    assert "are not those that the study was begun with" in capsys.readouterr().err
    assert not Path("suspects.csv").exists()


def test_images_that_have_moved(photos: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    gone = member("train")
    shutil.move(photos, tmp_path / "moved")
    try:
        assert errors.main(["--study", "tiny"]) == 2
        assert "are not here: give them with --data" in capsys.readouterr().err
        assert notes(page(capsys, "--data", "moved")) == []
        (tmp_path / "moved" / gone.relative_to(photos)).unlink()
        _, other = notes(page(capsys, "--data", "moved"))
        assert other == f"images that are gone or cannot be opened: 1 (&#39;{gone.parent.name}/{gone.name}&#39;)"
    finally:
        photos.mkdir(exist_ok=True)  # the fixture removes it


def test_a_study_from_before_predictions_were_kept(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(URL).engine.begin() as connection:
        connection.exec_driver_sql("delete from harness_prediction")
    text = page(capsys, "--heat-maps")
    (note,) = notes(text)
    assert "no predictions of this study" in note and "Label suspects" in text and "Confusion matrix" not in text


def test_the_test_images_once_they_are_opened(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.main(["--study", "tiny", "--test"]) == 2
    assert "test set of study 'tiny' is sealed: leave --test out, or open it first" in capsys.readouterr().err
    assert errors.main(["--study", "tiny", "--test", "--heat-maps"]) == 2
    assert "a confirmation trains other networks" in capsys.readouterr().err
    assert confirm.main(["--study", "tiny", "--finalists", "1", "--seeds", "2"]) == 0
    text = page(capsys, "--test")
    opened = Mistakes.read(Store(URL), "tiny", test=True)
    assert opened is not None and opened.n_models == 2 and len(opened.files) == 30
    predicted = Store(URL).predictions.frame("tiny", opening=1)
    assert set(predicted.groupby(["name", "seed"]).size()) == {30}
    assert (
        f"first of its seeds, gets {opened.wrong.sum()} of 30 held-out test images wrong" in text and notes(text) == []
    )
    assert "Test images are marked" in text and "held-out test image</strong>" in text and "test" in parts(text)
    text = page(capsys)
    assert "test" not in parts(text) and "No image of the held-out test set is on this page." in text
    member("test").unlink()
    (note,) = notes(page(capsys, "--test"))
    assert note.startswith("images that are gone or cannot be opened: 1 (")
