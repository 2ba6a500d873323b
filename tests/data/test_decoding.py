"""Decoding files: formats, orientation, damaged files, and the cache of decoded images."""

import hashlib
import io
import struct
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.core.errors import DataError, StorageError
from harness.data import decoding
from harness.data.decoding import Unreadable, decode, shrink, squares
from tests.conftest import ROOT

# Warnings about malformed EXIF are off in the package, but pytest sets its own filters.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

GREY = np.add.outer(np.arange(40) * 3, np.arange(60) * 2).astype(np.uint8)  # brighter to the right and downwards
COLOURS = np.stack([GREY, GREY[::-1], np.full_like(GREY, 90)], axis=2)


def decoded(image: Image.Image, kind: str, size: int = 32, **options: object) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return decode(file, size)[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_every_format_decodes_to_the_same_image(kind: str) -> None:
    wanted = decoded(Image.fromarray(COLOURS), "PNG")
    found = decoded(Image.fromarray(COLOURS), kind, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - wanted).mean() < (8 if kind == "GIF" else 4)


def test_grey_stays_grey_and_the_centre_is_cropped() -> None:
    found = decoded(Image.fromarray(GREY), "PNG", size=40)
    assert found.shape == (40, 40) and np.array_equal(found, GREY[:, 10:50])


@pytest.mark.parametrize(("width", "height"), [(60, 41), (41, 60), (15, 10), (300, 200), (7, 90), (32, 32)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_pixels_are_those_that_keras_makes(width: int, height: int, mode: str) -> None:
    blots = np.random.default_rng(width).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    resizing = keras.layers.Resizing(32, 32, "bicubic", crop_to_aspect_ratio=True, antialias=True, dtype="uint8")
    expected = keras.ops.convert_to_numpy(resizing(np.asarray(image).reshape(1, height, width, -1)))[0]
    found = decoded(image, "PNG").reshape(expected.shape)
    assert np.abs(found.astype(int) - expected).max() <= 1  # of a half, either may round up
    assert (found == expected).mean() > 0.99


def test_to_shrink_resizes_the_whole_image_and_gives_facts() -> None:
    for values, lowest_and_highest, deep in (
        (GREY, (0, int(GREY.max())), False),
        (GREY.astype(np.uint16), (0, 1), True),
        (COLOURS, (0, int(GREY.max())), False),
    ):
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        found = shrink(file, 32)
        assert (found.size, found.values, found.deep) == ((60, 40), lowest_and_highest, deep)
        assert deep or (found.pixels[0, 0].min() < 4 and found.pixels[-1, -1].max() > GREY[-1, -1] - 4)


def test_sixteen_bits_become_eight() -> None:
    wide = GREY.astype(np.uint16) * 257
    assert np.array_equal(decoded(Image.fromarray(wide), "PNG", size=40), GREY[:, 10:50])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (60, 40), 3)
        image.putpalette([0, 0, 0] * 8)
        options = {"transparency": 3}
    else:
        image = Image.fromarray(COLOURS).convert("RGBA")
        image.putalpha(0)
        image, options = image.convert(mode), {}
    assert (decoded(image, "PNG", **options) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    turned = decoded(Image.fromarray(GREY).convert("RGB"), kind, exif=exif)
    upright = decoded(Image.fromarray(np.rot90(GREY, -1)).convert("RGB"), kind)
    assert np.abs(turned.astype(int) - upright).mean() < 3


Entry = tuple[int, int, int, bytes]
"""EXIF: tag, type, count, and the value or its offset."""
RIGHT: Entry = (0x0112, 3, 1, struct.pack("<HH", 6, 0))


def exif_of(*entries: Entry, order: str = "<") -> bytes:
    """Return EXIF with one directory of ``entries`` in the given order."""
    packed = b"".join(struct.pack(f"{order}HHL4s", *entry) for entry in entries)
    begin = struct.pack(f"{order}HLH", 42, 8, len(entries))
    return b"Exif\0\0" + {"<": b"II", ">": b"MM"}[order] + begin + packed + bytes(4)


def with_exif(kind: str, exif: bytes) -> np.ndarray:
    return decoded(Image.fromarray(COLOURS), kind, exif=exif)


# Tags that Pillow checks, and any others except the orientation.
_TAGS = st.sampled_from([0x0100, 0x010E, 0x010F, 0x011A, 0x0128, 0x0132, 0x014A, 0x0201, 0x8769, 0x8825, 0xA005])
_ODD = st.tuples(
    _TAGS | st.integers(0, 0xFFFF).filter(lambda tag: tag != 0x0112),
    st.integers(0, 18),
    st.sampled_from([0, 1, 2, 5, 100, 2**32 - 1]),
    st.binary(min_size=4, max_size=4) | st.integers(0, 90).map(lambda where: struct.pack("<L", where)),
)


@given(kind=st.sampled_from(["JPEG", "PNG", "WEBP"]), odd=st.lists(_ODD, min_size=1, max_size=3), after=st.booleans())
@settings(max_examples=200)
def test_orientation_is_applied_despite_malformed_entries(kind: str, odd: list[Entry], after: bool) -> None:
    found = with_exif(kind, exif_of(*([RIGHT, *odd] if after else [*odd, RIGHT])))
    assert np.array_equal(found, with_exif(kind, exif_of(RIGHT)))


@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]), exif=st.binary(max_size=80).map(lambda end: b"Exif\0\0II*\0" + end)
)
@settings(max_examples=50)
def test_an_image_with_arbitrary_exif_bytes_is_read(kind: str, exif: bytes) -> None:
    assert with_exif(kind, exif).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "odd",
    [
        (0x0132, 11, 1, struct.pack("<f", 1.0)),  # a date that is a number
        (0x010E, 2, 40, struct.pack("<L", 9999)),  # an offset beyond the end: Pillow reads nothing after it
        (0x011A, 2, 1, bytes(4)),  # a resolution of the wrong type, in
        (0x0128, 3, 1, struct.pack("<HH", 3, 0)),  # centimetres
    ],
    ids=["date", "text", "density", "unit"],
)
def test_known_malformed_exif_entries_are_ignored(kind: str, odd: Entry) -> None:
    unit = (0x0128, 3, 1, struct.pack("<HH", 2, 0))
    for order in ([odd, RIGHT, unit], [RIGHT, odd, unit]):
        assert np.array_equal(with_exif(kind, exif_of(*order)), with_exif(kind, exif_of(RIGHT)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_applied_in_both_byte_orders(kind: str) -> None:
    upright = with_exif(kind, exif_of())
    turns = {2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1)}
    turns |= {6: np.rot90(upright, -1), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright)}
    for order in "<>":
        for value in range(12):
            found = with_exif(kind, exif_of((0x0112, 3, 1, struct.pack(f"{order}HH", value, 0)), order=order))
            assert np.abs(found.astype(int) - turns.get(value, upright)).max() <= 2, value


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "entry",
    [
        (0x0112, 2, 2, b"6\0\0\0"),
        (0x0112, 5, 1, struct.pack("<L", 9999)),
        (0x0112, 7, 4, b"\6\0\0\0"),
        (0x0112, 12, 1, struct.pack("<L", 9999)),
        (0x0112, 3, 1, b"\xff\xff\0\0"),
        (0x0112, 4, 2**32 - 1, bytes(4)),
    ],
)
def test_an_invalid_orientation_is_ignored(kind: str, entry: Entry) -> None:
    assert np.array_equal(with_exif(kind, exif_of(entry)), with_exif(kind, exif_of()))


def test_orientation_in_xmp_is_applied_and_a_text_called_exif_is_ignored() -> None:
    upright = decoded(Image.fromarray(COLOURS), "PNG")
    for key, text, wanted in (
        ("XML:com.adobe.xmp", 'tiff:Orientation="3"', upright[::-1, ::-1]),
        ("Raw profile type exif", "\nexif\n 1\nno hex", upright),
        ("exif", "words", upright),
    ):
        words = PngInfo()
        words.add_itxt(key, text)
        found = decoded(Image.fromarray(COLOURS), "PNG", pnginfo=words)
        assert np.abs(found.astype(int) - wanted).max() <= 2, key


def test_the_first_frame_of_a_gif_is_used() -> None:
    frames = [Image.new("L", (40, 40), value) for value in (10, 200)]
    assert (decoded(frames[0], "GIF", save_all=True, append_images=frames[1:]) == 10).all()


def test_one_pixel_becomes_a_constant_image() -> None:
    assert (decoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG") == (9, 8, 7)).all()


def test_a_photo_of_108_million_pixels_needs_little_memory(tmp_path: Path) -> None:
    Image.new("RGB", (12000, 9000), (120, 10, 10)).save(tmp_path / "huge.jpg")
    probe = (
        "import resource, sys\n"
        "from harness.data.decoding import decode\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "found, size = decode(open(sys.argv[1], 'rb'), 64)\n"
        "print(*size, *found.shape, found[0, 0, 0], peak() - before)\n"
    )
    command = [sys.executable, "-c", probe, tmp_path / "huge.jpg"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *shapes, value, grown = map(int, outcome.stdout.split())
    assert shapes == [12000, 9000, 64, 64, 3] and abs(value - 120) < 3
    assert grown < 60_000  # KB; the full image would be 324 MB


def test_pillows_size_limit_is_lifted_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert np.array_equal(decoded(Image.fromarray(GREY), "PNG", size=40), GREY[:, 10:50])
    with pytest.raises(Unreadable):
        decode(io.BytesIO(b"these are words"), 32)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1000)
    with pytest.raises(Unreadable, match=r"^it has more pixels than the limit of 1,000$"):
        decoded(Image.fromarray(GREY), "PNG")
    with pytest.raises(Unreadable, match=r"^60 x 40 pixels are more than the limit of 1,000$"):
        decoded(Image.fromarray(GREY), "JPEG")  # which might have been decoded at a smaller scale


def test_no_memory_is_taken_for_a_webp_or_gif_that_claims_a_huge_size(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    webp, gif = io.BytesIO(), io.BytesIO()
    frames[0].save(webp, "WEBP", save_all=True, append_images=frames[1:])
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], disposal=2)
    canvas = bytearray(webp.getvalue())
    assert canvas[12:16] == b"VP8X"
    canvas[24:30] = 2 * (16_382).to_bytes(3, "little")
    screen = bytearray(gif.getvalue())
    frame = screen.index(b",\0\0\0\0\x09\0\x09\0")
    screen[frame + 5 : frame + 9] = b"\xff" * 4
    monkeypatch.setattr("PIL._webp.WebPAnimDecoder", lambda content: pytest.fail("decoding begins"))
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("memory is filled"))
    for content in (canvas, screen):
        with pytest.raises(Unreadable, match=r"^it has more pixels than the limit of 180,000,000$"):
            decode(io.BytesIO(bytes(content)), 32)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"these are words", "not an image in a supported format"),
        (b"\xff\xd8\xff\xe0 and then nothing of the kind", "Truncated"),
        (b"\xff\xd8\xff\xe0", "a JPEG that is damaged or of an unusual kind"),
        (b"\x89PNG\r\n\x1a\n", "a PNG that is damaged"),
        (b"II*\0 and so on", "TIFF is not read: convert it to PNG or JPEG"),
        (b"\0\0\0\x18ftypheic", "HEIC is not read"),
        (b"", "not an image"),
    ],
)
def test_a_file_that_is_not_an_image_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(io.BytesIO(content), 32)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    with pytest.raises(Unreadable):
        decode(io.BytesIO(file.getvalue()[: len(file.getvalue()) // 2]), 32)


def test_a_damaged_image_is_read_or_refused() -> None:
    draws = np.random.default_rng(5)
    whole = []
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        file = io.BytesIO()
        Image.fromarray(COLOURS).save(file, kind)
        whole.append(file.getvalue())
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(whole[draws.integers(len(whole))])
        for at in draws.integers(min(300, len(damaged)), size=3):
            damaged[at] = draws.integers(256)
        try:
            outcomes.add(decode(io.BytesIO(bytes(damaged)), 32)[0].shape[:2])
        except Unreadable as error:
            outcomes.add(bool(str(error)))
    assert outcomes == {(32, 32), True}


def written(folder: Path, n: int) -> tuple[list[Path], list[str]]:
    draws = np.random.default_rng(1)
    paths = [folder / f"{i}.png" for i in range(n)]
    for path in paths:
        Image.fromarray(draws.integers(0, 255, (9, 12), dtype=np.uint8)).save(path)
    return paths, [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_images_are_decoded_once_and_memory_mapped(tmp_path: Path) -> None:
    paths, digests = written(tmp_path, 700)  # more than one chunk
    first, key = squares(paths, digests, 32, grey=True)
    assert isinstance(first, np.memmap) and first.shape == (700, 32, 32) and not first.flags.writeable
    for row in (0, 300, 699):
        with paths[row].open("rb") as file:
            assert np.array_equal(first[row], decode(file, 32)[0])
    for path in paths:
        path.unlink()
    again, same = squares(paths, digests, 32, grey=True)  # from the cache
    assert same == key and np.array_equal(first, again)


def test_the_key_depends_on_contents_order_size_and_colours(tmp_path: Path) -> None:
    paths, digests = written(tmp_path, 3)
    keys = [
        squares(paths, digests, 32, grey=True)[1],
        squares(paths[::-1], digests[::-1], 32, grey=True)[1],
        squares(paths, digests, 48, grey=True)[1],
        squares(paths, digests, 32, grey=False)[1],
    ]
    assert len(set(keys)) == 4
    colours, _ = squares(paths, digests, 32, grey=False)
    assert colours.shape == (3, 32, 32, 3) and (colours[..., 0] == colours[..., 2]).all()


def test_a_truncated_cache_entry_is_written_again(tmp_path: Path) -> None:
    paths, digests = written(tmp_path, 3)
    whole, _ = squares(paths, digests, 32, grey=True)
    whole = np.array(whole)
    (entry,) = (tmp_path / "cache" / "images").glob("*.npy")
    entry.write_bytes(entry.read_bytes()[:1000])
    assert np.array_equal(squares(paths, digests, 32, grey=True)[0], whole)


def test_a_file_that_has_changed_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    paths, digests = written(tmp_path, 3)
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(DataError, match=r"1\.png' has changed since it was checked \(its content differs\)"):
        squares(paths, digests, 32, grey=True)
    assert [path.suffix for path in (tmp_path / "cache" / "images").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    paths, digests = written(tmp_path, 3)
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(StorageError, match="set HARNESS_CACHE to another folder"):
        squares(paths, digests, 32, grey=True)
