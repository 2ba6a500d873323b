"""The facts about images: which errors are kept, ranges of values."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec
from harness.data import inspection
from harness.data.checks import check
from harness.data.decoding import decode, squares
from harness.data.folders import list_folder
from harness.data.inspection import look
from harness.data.sources import read_listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of four photos each of cats and dogs."""
    for seed in range(8):
        path = tmp_path / "set" / ("cat", "dog")[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    return tmp_path / "set"


def failing(monkeypatch: pytest.MonkeyPatch, name: str, fail: Callable[[IO[bytes]], Any]) -> None:
    """Make files called ``name`` open as ``fail`` says."""
    opened = Path.open

    def replaced(self: Path, *arguments: Any, **keywords: Any) -> Any:
        file = opened(self, *arguments, **keywords)
        return fail(file) if self.name == name else file

    monkeypatch.setattr(Path, "open", replaced)


class Broken:
    """A file whose disk fails at the ``after``-th read."""

    def __init__(self, file: IO[bytes], after: int) -> None:
        self._file, self._left = file, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Broken":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _failing(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def read(self, *arguments: int) -> bytes:
        self._failing()
        return self._file.read(*arguments)

    def readinto(self, buffer: Any) -> int:
        self._failing()
        return self._file.readinto(buffer)  # type: ignore[attr-defined,no-any-return]


def _denied(file: IO[bytes]) -> None:
    file.close()
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize(
    ("fail", "reason"),
    [(_denied, "Permission denied")]
    + [(lambda file, after=after: Broken(file, after), "Input/output error") for after in (0, 2, 4)],
    ids=["permission", "digest", "header", "pixels"],
)
def test_a_file_that_could_not_be_read_is_tried_again_and_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, fail: Any, reason: str
) -> None:
    listing = list_folder("set", root)
    with monkeypatch.context() as patched:
        failing(patched, "2.png", fail)
        for _ in range(2):
            found = look(listing)
            assert found.errors.tolist().count("") == 7 and found.errors[1] == reason
    with monkeypatch.context() as patched:
        seen: list[Path] = []
        inspect = inspection._of_file
        patched.setattr(inspection, "_of_file", lambda path: (seen.append(path), inspect(path))[1])
        again = look(listing)
        assert seen == [root / "cat" / "2.png"] and (again.errors == "").all()
        look(listing)
        assert len(seen) == 1  # kept now
    assert (again.digests[[0, 2, 3, 4, 5, 6, 7]] == found.digests[[0, 2, 3, 4, 5, 6, 7]]).all()
    fresh = inspection._of_files(listing)
    assert all((getattr(fresh, name) == getattr(again, name)).all() for name in vars(fresh))


def test_a_damaged_file_is_not_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "cat" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "dog" / "1.png").write_bytes(b"")
    listing = list_folder("set", root)
    first = look(listing)
    assert first.errors[[0, 4]].tolist() == ["a PNG that is damaged or of an unusual kind", "it is empty"]
    monkeypatch.setattr(inspection, "_of_file", lambda path: pytest.fail("inspected again"))
    assert (look(listing).errors == first.errors).all()


def test_a_disk_that_fails_as_images_are_decoded_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = list_folder("set", root)
    facts = look(listing)
    failing(monkeypatch, "2.png", _denied)
    paths = [listing.path(row) for row in range(8)]
    with pytest.raises(DataError, match=r"2\.png' can no longer be read \(Permission denied\): run this again"):
        squares(paths, facts.digests.astype(str).tolist(), 32, grey=False)


def test_a_position_that_a_damaged_file_asks_for_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    Image.new("L", (9, 9)).save(file)
    with file.open("rb") as opened:
        assert decode(opened, 9)[0].shape == (9, 9)
        broken = Broken(opened, 0)
        with pytest.raises(OSError, match="Input/output error"):
            decode(broken, 9)  # type: ignore[arg-type]


def narrow(path: Path) -> tuple[list[str], list[str]]:
    listing = read_listing(DatasetSpec(name="set", file=path))
    report = check(listing, look(listing), listing.parts)
    return report.narrow, [warning for warning in report.warnings() if "quarter of their range" in warning]


@pytest.mark.parametrize(
    ("bits", "offset", "warned"), [(16, 0, False), (15, 0, False), (13, 0, True), (12, 0, True), (12, 40_000, True)]
)
@pytest.mark.parametrize("which", ["cat", "*"])
def test_16_bit_images_of_fewer_bits_are_warned_of(
    root: Path, which: str, bits: int, offset: int, warned: bool
) -> None:
    draws = np.random.default_rng(0)
    for path in root.glob(f"{which}/*.png"):
        Image.fromarray(draws.integers(0, 2**bits, (20, 24), dtype=np.uint16) + np.uint16(offset)).save(path)
    names, warnings = narrow(root)
    assert len(names) == (0 if not warned else 4 if which == "cat" else 8) and len(warnings) == warned
    if warned:
        assert "scale them to the whole range: " in warnings[0] and "'cat/0.png', 'cat/2.png'" in warnings[0]


def test_8_bit_images_are_warned_of_if_all_are_narrow(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    arrays = {"labels": np.arange(8) % 2, "images": draws.integers(0, 2, (8, 9, 9, 3), dtype=np.uint8)}
    np.savez(tmp_path / "set.npz", **arrays)
    assert narrow(tmp_path / "set.npz")[0] == list(map(str, range(8)))
    arrays["images"][3] *= 255
    np.savez(tmp_path / "set.npz", **arrays)
    assert narrow(tmp_path / "set.npz") == ([], [])


def test_the_transparent_value_of_a_16_bit_image_becomes_white(tmp_path: Path) -> None:
    values = np.full((9, 9), 1000, np.uint16)
    values[:, 4:] = 30_000
    Image.fromarray(values).save(tmp_path / "x.png", transparency=1000)
    with (tmp_path / "x.png").open("rb") as file:
        found, _ = decode(file, 9)
    assert (found[:, :4] == 255).all() and (found[:, 4:] == round(30_000 / 257)).all()
