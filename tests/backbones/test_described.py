from pathlib import Path

import pytest

from harness.backbones import described
from harness.backbones.described import architecture_of, digest_of
from harness.backbones.stages import Architecture, Side, Stage
from harness.core.backbone import BackboneSpec
from harness.core.toml_files import shipped

OTHER = Architecture((Stage("all", 4, Side(2), 1, ()),))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the backbones that were built, instead of building them."""
    names: list[str] = []

    def describe(spec: BackboneSpec) -> Architecture:
        names.append(spec.name)
        return OTHER

    monkeypatch.setattr(described, "_describe", describe)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return names


@pytest.mark.parametrize("name", shipped("backbones"))
def test_shipped_backbones_are_never_built(name: str, built: list[str]) -> None:
    spec = BackboneSpec.load(name)
    assert [stage.name for stage in architecture_of(spec).stages] == list(spec.stages)
    assert built == []


def test_another_backbone_is_built_once(built: list[str], tmp_path: Path) -> None:
    spec = BackboneSpec.load("vgg16").model_copy(update={"name": "mine", "arguments": {"name": "x"}})
    assert architecture_of(spec) == architecture_of(spec) == OTHER
    assert built == ["mine"]
    (file,) = (tmp_path / "architectures").iterdir()
    file.write_text(file.read_text()[:-20])
    assert architecture_of(spec) == architecture_of(spec) == OTHER
    assert built == ["mine", "mine"]


def test_a_file_of_a_shipped_name_with_other_stages_is_another_backbone(built: list[str]) -> None:
    spec = BackboneSpec.load("vgg16").model_copy(update={"stages": {"all": "block5_pool"}})
    assert architecture_of(spec) == OTHER
    assert built == ["vgg16"]


def test_a_cache_that_cannot_be_written_is_no_error(built: list[str], tmp_path: Path) -> None:
    (tmp_path / "architectures").write_text("in the way")
    spec = BackboneSpec.load("vgg16").model_copy(update={"least_size": 40})
    assert architecture_of(spec) == OTHER


def test_the_digest_covers_what_decides_the_stages() -> None:
    spec = BackboneSpec.load("vgg16")
    changes = [{"builder": "a.b"}, {"arguments": {"x": 1}}, {"stages": {"a": "b"}}, {"least_size": 33}]
    swapped = {"stages": dict(reversed(spec.stages.items()))}
    digests = {digest_of(spec.model_copy(update=change)) for change in [*changes, swapped, {}]}
    assert len(digests) == 6
    assert digest_of(spec.model_copy(update={"title": "x"})) == digest_of(spec)
