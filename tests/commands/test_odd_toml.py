"""Study files and data-set files with anything in them: read rightly, or refused in one line with exit code 2."""

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from harness import run
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.toml import as_toml
from harness.core.validation import _fields
from harness.data import __main__ as data

STUDY = """name = "odd"
description = "a study"
[data]
dataset = "images.toml"
train_size = 20
validation_size = 10
[search]
image_size = 32
head_width = [4, 64]
[search.learning_rate]
feature_extraction = [1e-4, 1e-2]
freeze_first_k = [1e-5, 1e-2]
fine_tune_all = [1e-5, 1e-2]
from_scratch = [1e-5, 1e-2]
[budget]
epochs = 2
[recommendation.strategy]
kind = "fine_tune_all"
frozen = 0
pooling = "max"
head = []
dropout = 0.1
optimizer = "sgd"
learning_rate = 1e-3
[recommendation.figures]
accuracy = 0.9
"""
DATASET = """name = "odd"
path = "images.npz"
source = "the tests"
similar_to_imagenet = false
"""

# No word that is a path outside the folder, or a data set to download.
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/.~:\\"), max_size=8)
ODD = [
    "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "nan", "-inf", "1e400", "-0.0", "0x" + "f" * 5000, "9" * 5000,
    "2147483648", "-1", "1_000", "'''a\nb'''", '""', '"\\u0000"', '"a\\nb"', "[" * 3000, "[" * 50 + "]" * 50,
    "{}", "[{}]",
    "true", '"images.toml"', '"images.npz"', '"images"', "{a = {b = {c = [1, {d = 2}]}}}", "[1, 'a']", "", "=", '"',
]  # fmt: skip
PLAIN = st.integers(-5, 5) | st.integers() | st.floats() | st.booleans() | WORD
VALUES = st.sampled_from(ODD) | st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=2), max_leaves=6
).map(lambda value: as_toml({"a": [value]}).strip()[len("a = [") : -1])
ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-7"]


def sections(model: type[BaseModel]) -> dict[str, list[str]]:
    """Return the keys of the model and of its sections, by the section's name in TOML."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, Any]] = [("", model)]
    while waiting:
        name, section = waiting.pop()
        keys = _fields(section)
        if keys:
            found[name] = list(keys)
            waiting += [(f"{name}.{key}".strip("."), kind) for key, kind in keys.items()]
    return found


def key_as_toml(key: str) -> str:
    return as_toml({key: 1}).partition(" = 1")[0]


@st.composite
def changed(draw: st.DrawFn, text: str, model: type[BaseModel]) -> bytes:
    """The file with some lines gone, others with another value, new keys in any section, in some encoding."""
    known = sections(model)
    lines = text.splitlines()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["value", "value", "gone", "twice", "add", "add", "section"]))
        section = next((line[1:-1] for line in reversed(lines[: at + 1]) if line.startswith("[")), "")
        key = draw(st.sampled_from(known.get(section) or ["a"]) | WORD.map(key_as_toml))
        if how == "value" and " = " in lines[at]:
            lines[at] = f"{lines[at].partition(' = ')[0]} = {draw(VALUES)}"
        elif how == "gone" and len(lines) > 1:
            del lines[at]
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "section":
            lines.append(f"[{draw(st.sampled_from([*known, 'data.data', 'pruning.x']) | WORD.map(key_as_toml))}]")
        else:
            lines.insert(at + 1, f"{key} = {draw(VALUES)}")
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    content = ending.join(lines).encode(draw(st.sampled_from(ENCODINGS)), "replace")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=3)) + content[at + draw(st.integers(0, 3)) :]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("odd")
    draws = np.random.default_rng(0)
    pixels, labels = draws.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    np.savez(folder / "images.npz", images=pixels, labels=labels)
    (folder / "images.toml").write_text('name = "images"\nfile = "images.npz"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        yield folder


def call(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> str:
    """Run the command and return what it prints. Refused in one line it prints nothing: return ""."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    if code == 0:
        assert err.getvalue() == "" and out.getvalue()
        return out.getvalue()
    error = err.getvalue()
    assert code == 2 and error.startswith("error: ") and len(error.splitlines()) == 1 and len(error) < 5000, error
    return ""


def all_of_it_is_in(declared: dict[str, Any], read: dict[str, Any]) -> bool:
    return all(
        key in read
        and (not (isinstance(value, dict) and isinstance(read[key], dict)) or all_of_it_is_in(value, read[key]))
        for key, value in declared.items()
    )


def check_study(folder: Path, content: bytes) -> None:
    file = folder / "study.toml"
    file.write_bytes(content)
    if printed := call(run.main, ["--study", "study.toml", "--dry-run", "--json"]):
        study = json.loads(printed, parse_constant=lambda _: 1 / 0)["study"]
        assert all_of_it_is_in(tomllib.loads(file.read_text(encoding="utf-8-sig")), study)


def check_dataset(folder: Path, content: bytes) -> None:
    file = folder / "set.toml"
    file.write_bytes(content)
    if printed := call(data.main, ["check", "set.toml", "--json"]):
        assert json.loads(printed, parse_constant=lambda _: 1 / 0)["images"] == 40


few = settings(derandomize=True, max_examples=60, deadline=None)
many = settings(max_examples=200, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))


@few
@given(changed(STUDY, StudySpec))
def test_any_study_file(folder: Path, content: bytes) -> None:
    check_study(folder, content)


@few
@given(changed(DATASET, DatasetSpec))
def test_any_data_set_file(folder: Path, content: bytes) -> None:
    check_dataset(folder, content)


@pytest.mark.large
@many
@given(changed(STUDY, StudySpec))
def test_many_study_files(folder: Path, content: bytes) -> None:
    check_study(folder, content)


@pytest.mark.large
@many
@given(changed(DATASET, DatasetSpec))
def test_many_data_set_files(folder: Path, content: bytes) -> None:
    check_dataset(folder, content)


def test_the_files_as_they_are(folder: Path) -> None:
    check_study(folder, STUDY.encode())
    assert call(run.main, ["--study", "study.toml", "--dry-run", "--json"])
    check_dataset(folder, DATASET.encode())
    assert call(data.main, ["check", "set.toml", "--json"])
