"""What an export says about itself is checked before it is used."""

import zipfile
from pathlib import Path

import keras
import pytest

from harness.core.errors import DataError
from harness.deployment.exported_model import MEMBER, Exported, Signature
from harness.deployment.standalone import save_keras


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of two classes that names them a and b."""
    images = keras.Input((None, None, 3), dtype="uint8")
    values = keras.layers.Rescaling(1.0)(images)
    values = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(values))
    path = tmp_path / "model.keras"
    save_keras(keras.Model(images, values), path, Signature(class_names=["a", "b"], height=8, width=8, channels=3))
    return path


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ('{"class_names": ["a", "a"], "height": 8, "width": 8, "channels": 3}', "two classes have the same name"),
        ('{"class_names": ["a"], "height": 8, "width": 8, "channels": 3}', "class_names: List should have at least 2"),
        (
            '{"class_names": ["a", "b", "c"], "height": 8, "width": 8, "channels": 3}',
            "names 3 classes, but its network",
        ),
        ('{"class_names": ["a", "b"], "height": 0, "width": 8, "channels": 3}', "height: Input should be greater"),
        ('{"class_names": ["a", "b"], "height": 8, "width": 1e9, "channels": 3}', "width: Input should be less"),
        ("[" * 100_000, "is not a model that `harness export` wrote"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_in_one_line(model: Path, signature: str, reason: str) -> None:
    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(model, "w") as archive:
        for name, content in (members | {MEMBER: signature.encode()}).items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=reason) as raised:
        Exported.load(model)
    assert "\n" not in str(raised.value)


def test_a_signature_that_fits_is_read(model: Path) -> None:
    assert Exported.load(model).signature.class_names == ["a", "b"]
