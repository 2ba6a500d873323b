"""Metadata that is too large, malformed or wrong costs no image."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from harness.data.decoding import decode
from harness.data.essentials import essentials

PIXELS = np.random.default_rng(3).integers(0, 255, (8, 12, 3), dtype=np.uint8)
BIG = zlib.compress(bytes(3_000_000))
TIFF = b"II*\0\x08\0\0\0" + struct.pack("<HHHLHH", 1, 0x0112, 3, 1, 6, 0) + bytes(4)  # orientation 6
XMP = b'<x tiff:Orientation="6"/>'


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, quality=95)
    return file.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return decode(io.BytesIO(content), (12, 8))[0]


def chunk(kind: bytes, data: bytes, *, wrong: bool = False) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data) ^ wrong)


def png(*chunks: bytes, late: bool = False) -> bytes:
    """Return a PNG with ``chunks`` after the header, or after the pixels if ``late``."""
    content = saved("PNG")
    at = len(content) - 12 if late else 33
    return content[:at] + b"".join(chunks) + content[at:]


_CHUNKS = {
    "large zTXt": chunk(b"zTXt", b"Comment\0\0" + BIG),
    "large iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BIG),
    "large iCCP": chunk(b"iCCP", b"icc\0\0" + BIG),
    "large XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BIG),
    "large plain text": chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
    "unknown compression": chunk(b"zTXt", b"Comment\0\1" + BIG),
    "unknown compression of a profile": chunk(b"iCCP", b"icc\0\1" + BIG),
    "no compression of a profile": chunk(b"iCCP", b"icc"),
    "wrong checksum": chunk(b"tEXt", b"Comment\0words", wrong=True),
    "wrong checksum of EXIF": chunk(b"eXIf", TIFF, wrong=True),
    "short": b"".join(chunk(kind, b"") for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tEXt", b"zTXt", b"iTXt")),
    "animation": chunk(b"acTL", b"x") + chunk(b"fcTL", b"x") + chunk(b"fdAT", b"x"),
    "frame outside": chunk(b"acTL", struct.pack(">LL", 2, 0)) + chunk(b"fcTL", struct.pack(">LLLLL", 0, 99, 99, 9, 9)),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("what", _CHUNKS)
def test_a_png_with_odd_chunks_is_read(what: str, late: bool) -> None:
    assert np.array_equal(pixels(png(_CHUNKS[what], late=late)), PIXELS)


@pytest.mark.parametrize(
    "where",
    [
        chunk(b"eXIf", TIFF),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 34\n" + TIFF.hex().encode())),
    ],
    ids=["EXIF", "XMP", "compressed XMP", "profile"],
)
def test_the_orientation_of_a_png_is_applied_next_to_odd_chunks(where: bytes) -> None:
    found, _ = decode(io.BytesIO(png(*_CHUNKS.values(), where)), (8, 12))
    assert np.array_equal(found, np.rot90(PIXELS, -1))


def test_pixel_data_of_a_png_stays_whole() -> None:
    for options in ({}, {"interlace": 1}, {"transparency": (1, 2, 3)}):
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, "PNG", **options)
        assert essentials(file.seek(0) or file).read() == file.getvalue()


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


_SEGMENTS = {
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "short Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"),
    "index of images": segment(0xE2, b"MPF\0II*\0"),
    "flash": segment(0xE2, b"FPXR\0"),
    "comment": segment(0xFE, b"x" * 60_000),
    "empty": b"".join(segment(marker, b"") for marker in (*range(0xE0, 0xF0), 0xFE)),
    "fill bytes": b"\xff\xff\xff",
}


@pytest.mark.parametrize("what", _SEGMENTS)
def test_a_jpeg_with_odd_segments_is_read(what: str) -> None:
    content = saved("JPEG")
    assert np.array_equal(pixels(content[:2] + _SEGMENTS[what] + content[2:]), pixels(content))


def test_the_orientation_and_the_colours_of_a_jpeg_stay() -> None:
    content = saved("JPEG")
    turned = content[:2] + b"".join(_SEGMENTS.values()) + segment(0xE1, b"Exif\0\0" + TIFF) + content[2:]
    found = decode(io.BytesIO(turned), (8, 12))[0]
    assert np.array_equal(found, np.rot90(pixels(content), -1))
    for mode, options in (("CMYK", {}), ("RGB", {"keep_rgb": True})):  # colours by the Adobe segment, by component ids
        file = io.BytesIO()
        Image.fromarray(PIXELS).convert(mode).save(file, "JPEG", quality=95, **options)
        assert np.array_equal(pixels(file.getvalue()), np.asarray(Image.open(file).convert("RGB")))


def test_any_other_file_is_read_as_it_is() -> None:
    for content in (b"", b"\x89PNG", b"words", saved("BMP"), saved("WEBP")):
        assert essentials(io.BytesIO(content)).read() == content


def test_a_pipe_is_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    assert np.array_equal(decode(Pipe(saved("PNG")), (12, 8))[0], PIXELS)
