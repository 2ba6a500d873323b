"""Random ``.npz`` files: each is read rightly, or refused in one line with exit code 2."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.spec import DatasetSpec
from harness.data.__main__ import main
from harness.data.archives import read_images
from harness.data.sources import read_listing

_ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # capsys is read out in each example
FAST = settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=_ALLOWED)
LONG = settings(FAST, max_examples=250, derandomize=False)

N = 20
_DRAWS = np.random.default_rng(0)
_LABELS = np.arange(N) % 2
_WORDS = [
    "",
    " ",
    "a",
    "b",
    "A",
    "a ",
    "train",
    "val",
    "test",
    "é",
    "e\u0301",
    "\x00x",
    "\ud800",
    "line\nbreak",
    "7",
    "07",
]
_DTYPES = [
    "u1", "i1", "<i8", ">i4", "u8", "f4", "f8", "f2", "?", "c8", "U3", "S3", "U0", "S0", "M8[s]", "m8[s]", "V3", "O",
    [("a", "i4"), ("b", "U2")], ("i4", (2,)),
]  # fmt: skip
_SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, N]), max_size=5).map(tuple)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Draw an array of any type and shape, often with one entry for each image."""
    shape = draw(st.just((N,)) | _SHAPES)
    dtype = np.dtype(draw(st.sampled_from(_DTYPES)))
    if dtype.kind in "US" and draw(st.booleans()):
        words = draw(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=N))
        texts = np.resize(np.array([word.encode("utf-8", "surrogatepass") for word in words]), shape)
        return texts if dtype.kind == "S" else np.resize(np.array(words), shape)
    if dtype.kind == "f":
        return np.resize(np.array(draw(st.lists(st.floats(width=16), min_size=1, max_size=9))), shape).astype(dtype)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        numbers = st.integers(0, 3) | st.sampled_from([int(bounds.min), int(bounds.max), 100])
        return np.resize(np.array(draw(st.lists(numbers, min_size=1, max_size=N)), dtype), shape)
    return np.zeros(shape, dtype)


_RIGHT: dict[str, list[np.ndarray]] = {
    "images": [
        _DRAWS.integers(0, 255, (N, 5, 4), dtype=np.uint8),
        _DRAWS.integers(0, 255, (N, 1, 9, 1), dtype=np.uint8),
        np.asfortranarray(_DRAWS.integers(0, 255, (N, 5, 4, 3), dtype=np.uint8)),
    ],
    "labels": [_LABELS, _LABELS.astype(">u2"), _LABELS.astype(np.int8)],
    "class_names": [np.array(["x", "y"]), np.array([b"x", b"y"]), np.array([5, 6])],
    "split": [np.where(np.arange(N) < 14, "train", "test"), np.full(N, b"train")],
    "groups": [np.arange(N) // 2, (np.arange(N) // 2).astype(str), np.arange(N) / 2],
}
_FILES = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(right) | st.sampled_from(right) | arrays() for name, right in _RIGHT.items()},
)
_DAMAGE = st.none() | st.tuples(
    st.floats(0.1, 1), st.lists(st.tuples(st.integers(0, 9_999), st.integers(0, 255)), max_size=4)
)


def read_or_refused(given: dict[str, Any], damage: Any, compress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    kept = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(kept, **given)
    content = bytearray(kept.getvalue())
    if damage is not None:
        content = content[: int(len(content) * damage[0])]
        for at, value in damage[1]:
            content[at % len(content)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.npz"
        path.write_bytes(content)
        code = main(["check", str(path)])
        error = capsys.readouterr().err
        assert code in (0, 2)
        if code == 2:
            assert error.startswith("error: ") and error.count("\n") == 1 and "pickle" not in error
            return
        assert error == ""
        listing = read_listing(DatasetSpec(name="set", file=path))
        if damage is None:
            images = given["images"]
            assert np.array_equal(
                read_images(path), images.reshape(images.shape[:3]) if images.shape[3:] == (1,) else images
            )
            assert np.array_equal(listing.labels, given["labels"])
        assert len(set(listing.class_names)) == len(listing.class_names) == len(np.unique(listing.labels))


@given(_FILES, _DAMAGE, st.booleans())
@FAST
def test_an_archive_is_read_or_refused(
    capsys: pytest.CaptureFixture[str], given: Any, damage: Any, compress: bool
) -> None:
    read_or_refused(given, damage, compress, capsys)


@pytest.mark.large
@given(_FILES, _DAMAGE, st.booleans())
@LONG
def test_an_archive_is_read_or_refused_long(
    capsys: pytest.CaptureFixture[str], given: Any, damage: Any, compress: bool
) -> None:
    read_or_refused(given, damage, compress, capsys)
