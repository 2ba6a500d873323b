"""Thumbnails of files and arrays, of those that are gone too."""

from pathlib import Path

import numpy as np
from PIL import Image

from harness.review.thumbnails import SIDE, jpeg, thumbnails


def test_files(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "gone.png", "nul\0.png")]
    first, *others = thumbnails(files, None)
    assert isinstance(first, np.ndarray) and first.shape == (SIDE, SIDE, 3) and jpeg(first).startswith(b"\xff\xd8")
    assert all(isinstance(reason, str) and reason for reason in others)


def test_rows_of_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 28, 30, 1), np.uint8), labels=[0, 1])
    small, gone = thumbnails(["1", "2"], tmp_path / "a.npz")
    assert isinstance(small, np.ndarray) and small.shape == (28, 30) and gone == "there is no such row"
    (tmp_path / "a.npz").write_bytes(b"no archive")
    (reason,) = thumbnails(["1"], tmp_path / "a.npz")
    assert isinstance(reason, str) and "a.npz" in reason
