"""Predictions from files, and invalid models and images."""

import csv
import io
import os
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from harness import predict
from harness.core.calibration import Rejection
from harness.data.folders import list_folder
from harness.deployment.exported_model import Exported, Signature
from harness.deployment.standalone import save_keras
from tests.deployment.test_standalone import SIZES, photo, trained

SIGNATURE = Signature(class_names=["a", "b", "c, d"], height=12, width=12, channels=1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_keras(trained("freeze_first_k", 7, "average", (8,), 12, 12)[1], folder / "model.keras", SIGNATURE)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture
def images(tmp_path: Path) -> np.ndarray:
    """Write 70 grey images as PNG files in two folders."""
    pixels = np.random.default_rng(4).integers(0, 256, (70, 12, 12), dtype=np.uint8)
    for index, image in enumerate(pixels):
        file = tmp_path / "images" / str(index % 2) / f"{index:03}.PNG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return pixels


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[list[str]], str]:
    code = predict.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, list(csv.reader(io.StringIO(output.out))), output.err


def test_a_folder(model: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, (header, *rows), _ = call(capsys, model, tmp_path / "images", "--top", "2")
    assert code == 0 and header == ["file", "label", "probability", "label_2", "probability_2"]
    order = [*range(0, 70, 2), *range(1, 70, 2)]
    assert [Path(row[0]).stem for row in rows] == [f"{index:03}" for index in order]
    expected = Exported.load(model).probabilities(np.repeat(images[order][..., None], 3, axis=-1))
    best = np.sort(expected, axis=1)[:, ::-1]
    assert [row[1] for row in rows] == [SIGNATURE.class_names[index] for index in expected.argmax(axis=1)]
    assert np.allclose([[float(row[2]), float(row[4])] for row in rows], best[:, :2], atol=1e-5)

    code, rows, _ = call(capsys, model / "model.keras", tmp_path / "images", "--out", tmp_path / "found.csv")
    assert code == 0 and rows == []
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 71


def test_unsure_images_get_no_label(
    saved: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (_, *all_rows), err = call(capsys, saved, tmp_path / "images")
    assert code == 0 and err == ""
    middle = round(float(np.median([float(row[2]) for row in all_rows])), 6)
    code, (_, *rows), err = call(capsys, saved, tmp_path / "images", "--reject", middle)
    assert code == 0 and "this export is not calibrated" in err
    assert [row[1] for row in rows] == [row[1] if float(row[2]) >= middle else "" for row in all_rows]
    assert 0 < sum(row[1] == "" for row in rows) < 70
    code, _, err = call(capsys, saved, tmp_path / "images", "--reject", "1.5")
    assert code == 2 and "--reject 1.5: give a probability" in err
    rejections = [Rejection(0.0, 0.0, 0.8), Rejection(0.9, 0.25, 0.96), Rejection(1.0, 1.0, None)]
    told = Exported(Exported.load(saved).model, SIGNATURE.model_copy(update={"rejections": rejections}))
    assert (told.expected(0.5), told.expected(0.95)) == (rejections[0], rejections[1])


@pytest.mark.parametrize("shape", [pytest.param((12, 12), marks=pytest.mark.large), (40, 24, 3)])
def test_a_file_gets_the_prediction_of_its_pixels(
    shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    height, width, *colours = shape
    signature = Signature(class_names=["a", "b", "c"], height=height, width=width, channels=3 if colours else 1)
    save_keras(trained("fine_tune_all", 0, "average", (8,), *shape)[1], tmp_path / "model.keras", signature)
    exported = Exported.load(tmp_path / "model.keras")
    photos = [photo(size, "RGB") for size in [(width, height), *SIZES]]  # in colours, whatever the model was trained on
    files = [tmp_path / f"{number}.png" for number in range(len(photos))]
    for image, file in zip(photos, files, strict=True):
        image.save(file)
    code, (_, *rows), _ = call(capsys, tmp_path / "model.keras", *files)
    assert code == 0
    for image, row in zip(photos, rows, strict=True):
        expected = exported.probabilities(np.asarray(image)[None])[0]
        assert float(row[2]) == pytest.approx(expected.max(), abs=1e-3)


def test_unusual_file_names(
    model: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for name in (b'a,b\n"c.png', b"\xff.png", b".hidden.png"):
        (odd / os.fsdecode(name)).write_bytes((tmp_path / "images" / "0" / "000.PNG").read_bytes())
    code, (_, *rows), _ = call(capsys, model, odd)
    assert code == 0 and [row[0].removeprefix(f"{odd}/") for row in rows] == ['a,b\n"c.png', r"\xff.png"]


def test_a_folder_is_searched_as_a_data_set_is(
    images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "images"
    shutil.copytree(root / "0", root / "1" / ".hidden")
    shutil.copytree(root / "1", tmp_path / "elsewhere" / "deep")
    (root / "1" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "1" / "up").symlink_to(root)
    (root / "1" / "notes.txt").touch()
    listing = list_folder("images", root)
    assert predict._files([root]) == [listing.path(row) for row in range(len(listing))] and len(listing) == 70 + 35
    assert capsys.readouterr().err.splitlines() == [f"{str(root)!r}: {note}" for note in listing.notes]
    assert [note.partition(":")[0] for note in listing.notes] == [
        "the link '1/up' leads to a folder above it",
        "hidden folders, left out",
        "files not named like images, left out",
    ]  # fmt: skip


def test_unreadable_images_are_named_and_the_others_classified(
    model: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "images" / "0" / "000.PNG"
    half = tmp_path / "images" / "0" / "half.png"
    half.write_bytes(good.read_bytes()[:60])
    other = tmp_path / "text.jpg"
    other.write_text("no image")
    code, (_, *rows), err = call(capsys, model, other, good, half)
    assert code == 2 and [row[0] for row in rows] == [str(good)]
    assert all(f"not read: {str(file)!r}" in err for file in (half, other))
    assert "2 of 3 images could not be read" in err


@pytest.mark.parametrize("arguments", [("missing.png",), ("empty",)])
def test_nothing_to_predict(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = call(capsys, model, *(tmp_path / name for name in arguments))
    assert code == 2 and arguments[0] in err


def test_a_model_with_code_is_refused(
    model: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = keras.Input((None, None, 3), dtype="uint8")
    lambdas = keras.Model(inputs, keras.layers.Lambda(lambda values: values, output_shape=(3,))(inputs))
    save_keras(lambdas, tmp_path / "lambda.keras", SIGNATURE)
    code, _, err = call(capsys, tmp_path / "lambda.keras", tmp_path / "images")
    assert code == 2 and "holds a Lambda" in err

    # A function of another module instead of an activation.
    with zipfile.ZipFile(model / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    function = b'{"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}'
    with zipfile.ZipFile(tmp_path / "function.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b'"softmax"', function))
    code, _, err = call(capsys, tmp_path / "function.keras", tmp_path / "images")
    assert code == 2 and "holds a os.function" in err


@pytest.mark.parametrize("content", [b"\x80\x04N.", b"", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_not_a_model_is_refused(
    content: bytes, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.keras").write_bytes(content)
    for path in ("model.keras", "", "nowhere"):
        code, _, err = call(capsys, tmp_path / path, tmp_path / "images")
        assert code == 2 and "harness export" in err and "Traceback" not in err


def test_a_truncated_model_is_refused(
    model: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(model / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "half.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:2000] if name.endswith(".h5") else content)
    code, _, err = call(capsys, tmp_path / "half.keras", tmp_path / "images")
    assert code == 2 and "cannot be loaded" in err
