"""Random image files: each is read rightly, or named with a reason of one line. Nothing else is raised."""

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data.__main__ import main
from harness.data.decoding import Unreadable, decode
from harness.data.folders import list_folder
from harness.data.inspection import look

# Warnings about malformed EXIF are off in the package, but pytest sets its own filters.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

_ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # capsys is read out in each example
FAST = settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=_ALLOWED)
LONG = settings(FAST, max_examples=400, derandomize=False)

_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "BMP": ("1", "L", "P", "RGB"),
    "WEBP": ("L", "RGB", "RGBA"),  # lossless
    "GIF": ("1", "L", "P"),
    "JPEG": ("L", "RGB", "CMYK"),
}
_SIDES = st.integers(1, 12)


@st.composite
def images(draw: st.DrawFn) -> tuple[str, Image.Image, dict[str, Any]]:
    """Draw a format, an image in one of its modes, and options of writing it."""
    kind = draw(st.sampled_from(sorted(_MODES)))
    mode = draw(st.sampled_from(_MODES[kind]))
    width, height = draw(_SIDES), draw(_SIDES)
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 65536, (height, width, 4), dtype=np.uint16)
    if mode == "I;16":
        return kind, Image.fromarray(values[..., 0]), {}
    image = Image.fromarray((values >> 8).astype(np.uint8)).convert("RGBA" if mode in ("LA", "RGBA") else "RGB")
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    if kind == "JPEG":
        options = {"quality": 100, "progressive": draw(st.booleans()), "subsampling": 0}
    if mode == "P":  # few colours take 1, 2 or 4 bits
        return kind, image.quantize(draw(st.sampled_from([2, 4, 16, 256]))), options
    return kind, image.convert(mode), options


def wanted(image: Image.Image) -> np.ndarray:
    """Return the grey or RGB values of an image by a way of its own."""
    if image.mode == "I;16":
        return (np.asarray(image) / 257).round()
    if image.mode in ("LA", "RGBA"):
        values = np.asarray(image).astype(float)
        alpha = values[..., -1:] / 255
        blended = values[..., :-1] * alpha + 255 * (1 - alpha)
        return blended if image.mode == "RGBA" else blended[..., 0]
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")).astype(float)


def file_of(kind: str, image: Image.Image, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


_BYTES = st.binary(max_size=40) | st.sampled_from([b"\0" * 70, b"\xff" * 70, zlib.compress(bytes(2_000_000))])
_NAMES = (
    b"",
    b"Comment\0",
    b"XML:com.adobe.xmp\0",
    b"XML:com.adobe.xmp\0\1\0\0\0",
    b"icc\0\0",
    b"Raw profile type exif\0\0",
)
_CHUNKS = st.tuples(
    st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"acTL", b"fcTL",
                     b"fdAT", b"bKGD", b"sBIT", b"sPLT", b"hIST", b"vpAg", b"eXIf"]),
    st.sampled_from(_NAMES),
    _BYTES,
    st.booleans(),
)  # fmt: skip
_SEGMENTS = st.tuples(
    st.integers(0xE0, 0xEF) | st.just(0xFE),
    st.sampled_from(
        [b"", b"JFIF\0", b"Exif\0\0", b"Exif\0\0II*\0", b"http://ns.adobe.com/xap/1.0/\0", b"FPXR\0", b"ICC_PROFILE\0",
         b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM", b"MPF\0", b"MPF\0II*\0"]
    ),
    _BYTES,
)  # fmt: skip


def with_metadata(content: bytes, chunks: list[tuple[bytes, bytes, bytes, bool]], segments: list[Any]) -> bytes:
    """Return a PNG with more chunks before its pixels, a JPEG with more segments, another file as it is."""
    if content.startswith(b"\x89PNG"):
        more = b""
        for kind, name, data, right in chunks:
            body = kind + name + data
            more += struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body) ^ (not right))
        return content[:33] + more + content[33:]
    if content.startswith(b"\xff\xd8"):
        more = b"".join(struct.pack(">BBH", 0xFF, m, len(n + d) + 2) + n + d for m, n, d in segments)
        return content[:2] + more + content[2:]
    return content


def read_rightly(image: tuple[str, Image.Image, dict[str, Any]], chunks: list[Any], segments: list[Any]) -> None:
    content = with_metadata(file_of(*image), chunks, segments)
    found, size = decode(io.BytesIO(content), image[1].size)
    expected = wanted(image[1])
    if image[0] in ("GIF", "WEBP") and found.ndim > expected.ndim:  # they may store grey as colours
        expected = np.repeat(expected[..., None], 3, axis=2)
    assert size == image[1].size and found.dtype == np.uint8 and found.shape == expected.shape
    if image[0] != "JPEG":
        assert np.abs(found - expected).max() <= 1
    else:
        assert np.array_equal(found, decode(io.BytesIO(file_of(*image)), image[1].size)[0])


_ANY = (images(), st.lists(_CHUNKS, max_size=3), st.lists(_SEGMENTS, max_size=3))


@given(*_ANY)
@FAST
def test_an_image_is_read_rightly_with_any_metadata(image: Any, chunks: list[Any], segments: list[Any]) -> None:
    read_rightly(image, chunks, segments)


@pytest.mark.large
@given(*_ANY)
@LONG
def test_an_image_is_read_rightly_with_any_metadata_long(image: Any, chunks: list[Any], segments: list[Any]) -> None:
    read_rightly(image, chunks, segments)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(2, 3), (4, 2), (6, 4)]), st.integers(0, 99))
@settings(FAST, max_examples=8)
def test_a_png_of_16_bits_and_several_channels_is_read_rightly(
    width: int, height: int, kind: tuple[int, int], seed: int
) -> None:
    colour, channels = kind
    values = np.random.default_rng(seed).integers(0, 65536, (height, width, channels), dtype=np.uint16)
    alpha = values[..., -1:] / 65535 if channels in (2, 4) else 1.0
    colours = values[..., :-1] if channels in (2, 4) else values
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = {b"IHDR": struct.pack(">LLBBBBB", width, height, 16, colour, 0, 0, 0), b"IDAT": zlib.compress(rows)}
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
        for name, data in parts.items()
    )
    found, _ = decode(io.BytesIO(content), (width, height))
    assert np.abs(found - (colours / 257 * alpha + 255 * (1 - alpha))).max() <= 2


_DAMAGE = st.tuples(
    st.floats(0.02, 1), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.binary(max_size=9)
)


def damaged(content: bytes, damage: tuple[float, list[tuple[int, int]], bytes]) -> bytes:
    """Return the beginning of ``content`` with some bytes changed and some added."""
    kept, changes, added = damage
    changed = bytearray(content[: int(len(content) * kept)])
    for at, value in changes:
        if at < len(changed):
            changed[at] = value
    return bytes(changed) + added


def read_or_named(image: Any, chunks: list[Any], segments: list[Any], damage: Any) -> None:
    content = damaged(with_metadata(file_of(*image), chunks, segments), damage)
    try:
        found, _ = decode(io.BytesIO(content), 8)
    except Unreadable as error:
        reason = str(error)
        assert reason and "\n" not in reason
    else:
        assert found.shape in ((8, 8), (8, 8, 3)) and found.dtype == np.uint8


@given(*_ANY, _DAMAGE)
@settings(FAST, max_examples=150)
def test_a_damaged_image_is_read_or_named(image: Any, chunks: list[Any], segments: list[Any], damage: Any) -> None:
    read_or_named(image, chunks, segments, damage)


@pytest.mark.large
@given(*_ANY, _DAMAGE)
@LONG
def test_a_damaged_image_is_read_or_named_long(image: Any, chunks: list[Any], segments: list[Any], damage: Any) -> None:
    read_or_named(image, chunks, segments, damage)


_NAMES_OF_FILES = st.tuples(
    st.sampled_from(["photo", "ü", "a b", "[red]", "x.tar", "line\nbreak"]),
    st.sampled_from([".jpg", ".JPEG", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".heic", ".txt", "", ".jpg~"]),
)
_FILES = st.lists(
    st.tuples(_NAMES_OF_FILES, images(), _DAMAGE | st.none()), min_size=1, max_size=3, unique_by=lambda file: file[0]
)


def in_a_folder(files: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Check a folder of whole images and ``files``: each of these is listed or named, and there is one line at most."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        for i in range(10):
            path = root / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (9, 9), dtype=np.uint8)).save(path)
        for (stem, suffix), image, damage in files:
            content = file_of(*image)
            (root / "cat" / f"{stem}{suffix}").write_bytes(content if damage is None else damaged(content, damage))
        code = main(["check", str(root)])
        output = capsys.readouterr()
        assert code == 0 and output.err == ""
        listing = list_folder("set", root)
        errors = dict(zip(listing.files or (), look(listing).errors, strict=True))
        for (stem, suffix), _, damage in files:
            name = f"cat/{stem}{suffix}"
            assert name in errors or repr(name) in " ".join(listing.notes)
            assert damage is not None or errors[name] == ""
            assert not errors.get(name) or f"{name!r}: {errors[name]}" in output.out


@given(_FILES)
@settings(FAST, max_examples=25)
def test_every_file_of_a_folder_is_read_or_named(capsys: pytest.CaptureFixture[str], files: list[Any]) -> None:
    in_a_folder(files, capsys)


@pytest.mark.large
@given(_FILES)
@settings(LONG, max_examples=80)
def test_every_file_of_a_folder_is_read_or_named_long(capsys: pytest.CaptureFixture[str], files: list[Any]) -> None:
    in_a_folder(files, capsys)
