"""TOML as it is written and as it is read from files of other programs."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import SpecError
from harness.core.spec import StudySpec
from harness.core.strategy import VGG16
from harness.core.toml import as_toml, read_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
PLAIN = TEXT | st.integers() | st.floats(allow_nan=False) | st.booleans()
VALUES: Any = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_is_read_again(table: dict[str, Any]) -> None:
    assert tomllib.loads(as_toml(table)) == table


def test_none_is_left_out() -> None:
    assert tomllib.loads(as_toml({"a": None, "b": {"c": None, "d": 1}, "e": [{"f": None}]})) == {
        "b": {"d": 1},
        "e": [{}],
    }


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")
    assert read_toml(file) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = 1".encode("utf-16"), "is not UTF-8 text, as TOML is"),
        ("a = 'é'".encode("latin-1"), "is not UTF-8 text, as TOML is"),
        (b"a = " + b"[" * 20_000, "is not valid TOML: its values are nested more than 20 deep"),
        (b"a = " + b"[" * 30 + b"]" * 30, "is not valid TOML: its values are nested more than 20 deep"),
        (b"a" + b".a" * 300 + b" = 1", "is not valid TOML: its values are nested more than 20 deep"),
        (b"a = [{b = 0x" + b"f" * 5000 + b"}]", "is not valid TOML: an integer has more than 64 bits"),
        (b"a = " + b"9" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"a = 1\0", "is not valid TOML"),
        (b"<html>", "is not valid TOML"),
    ],
)
def test_what_is_not_toml_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        read_toml(file)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.toml cannot be read: No such file"):
        read_toml(tmp_path / "absent.toml")


def test_a_study_is_written_with_names_of_shipped_backbones_and_others_whole() -> None:
    spec, _ = StudySpec.load("mnist", {"search.backbones": [VGG16, "efficientnet_lite0"]})
    assert spec.model_dump(mode="json")["search"]["backbones"] == [VGG16, "efficientnet_lite0"]
    own = spec.search.backbones[0].model_copy(update={"name": "mine"})
    changed = spec.model_copy(update={"search": spec.search.model_copy(update={"backbones": (own,)})})
    assert StudySpec.model_validate(tomllib.loads(as_toml(changed.model_dump(mode="json")))) == changed
