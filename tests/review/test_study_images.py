"""The images of a study that are rows of an array, as they were and after the array has changed."""

from pathlib import Path

import numpy as np
import pytest

from harness.core.spec import DatasetSpec, StudySpec
from harness.data.dataset import draw
from harness.review.study_images import StudyImages
from harness.storage.store import Store

PARTS = ("train", "validation")


@pytest.fixture
def study(tmp_path: Path, study_file: Path) -> tuple[Store, DatasetSpec]:
    """A study that is begun and nothing else, with the digests of its images."""
    spec, dataset = StudySpec.load(str(study_file))
    store = Store(f"sqlite:///{tmp_path / 'study.db'}")
    split = draw(dataset, spec.data, spec.seed).members()
    store.studies.create(spec.name, spec=spec.model_dump(mode="json"), data={}, advice={}, split=split)
    return store, dataset


def test_nothing_has_changed(study: tuple[Store, DatasetSpec]) -> None:
    found = StudyImages.find(study[0], "tiny", study[1])
    assert found.reason == "" and found.changes([*PARTS, "test"]) == []
    assert found.archive == study[1].file and isinstance(found.thumbnails([("train", 0)])[0], np.ndarray)


def test_a_row_that_has_changed(study: tuple[Store, DatasetSpec]) -> None:
    store, dataset = study
    row, label, _ = store.studies.split("tiny")["validation"][3]
    with np.load(dataset.file) as archive:
        arrays = dict(archive)
    arrays["images"][int(row), 0, 0] ^= 1
    np.savez(dataset.file, **arrays)
    found = StudyImages.find(store, "tiny", dataset)
    assert found.changes(PARTS) == [f"images that have changed since the study began, which saw others: 1 ('{row}')"]
    assert found.changes(["train"]) == [] and found.reason == ""
    assert (found.name(("validation", 3)), found.label(("validation", 3))) == (row, label)


def test_an_array_that_is_damaged_or_shorter(study: tuple[Store, DatasetSpec]) -> None:
    store, dataset = study
    with np.load(dataset.file) as archive:
        shorter = {name: values[:200] if len(values) > 3 else values for name, values in archive.items()}
    np.savez(dataset.file, **shorter)
    found = StudyImages.find(store, "tiny", dataset)
    last = max(int(row) for row, *_ in store.studies.split("tiny")["test"])
    assert last >= 200 and "gone" in found.changes(["test"])[0]
    dataset.file.write_bytes(b"no archive")
    found = StudyImages.find(store, "tiny", dataset)
    assert "digits.npz" in found.reason and found.drawn is None
    (gone,) = found.changes(PARTS)
    assert gone.startswith("images that are gone or cannot be opened: 144 (")
    assert isinstance(found.thumbnails([("train", 0)])[0], str)
