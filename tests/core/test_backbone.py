"""Backbones in TOML: reading, invalid values and their messages."""

import re
from pathlib import Path

import pytest

from harness.core.backbone import BackboneSpec
from harness.core.errors import SpecError
from harness.core.toml_files import shipped


@pytest.mark.parametrize("name", shipped("backbones"))
def test_shipped_backbones_are_valid(name: str) -> None:
    spec = BackboneSpec.load(name)
    assert spec.name == name
    assert 5 <= len(spec.stages) <= 20


def test_a_backbone_is_read_from_the_path_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(shipped("backbones")["vgg16"].read_text().replace('"vgg16"', '"mine"'))
    assert BackboneSpec.load(str(file)).name == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "unknown backbone 'resnet5': did you mean 'resnet50'? Known: convnext_tiny, efficientnet_lite0,"),
        ("VGG16", "unknown backbone 'VGG16': did you mean 'vgg16'?"),
        ("nowhere.toml", "there is no backbone file"),
    ],
)
def test_an_unknown_backbone_suggests_the_nearest(name: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        BackboneSpec.load(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('format = "onnx"', 'format = "onnx"\nfile = "x"', "unknown key 'weights.wheel.file'"),
        ("least_size = 32", "least_sise = 32", "unknown key 'least_sise': did you mean 'least_size'?"),
        ('channels = "bgr"', 'channels = "gray"', "preprocessing.channels = 'gray': Input should be 'rgb' or 'bgr'"),
        ("block1_conv1 =", '"block1/conv1" =', "block1/conv1"),
    ],
)
def test_an_invalid_value_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = shipped("backbones")["vgg16"].read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(SpecError, match=re.escape(message)):
        BackboneSpec.load(str(tmp_path / "mine.toml"))
