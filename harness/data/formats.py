"""Recognise images by their names and first bytes, and tell which formats are read."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.errors import DataError
from harness.data.listing import examples, shown

READ = ("JPEG", "PNG", "WebP", "BMP", "GIF")
"""The formats that are read, also if a file's name has another suffix or none."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .jfi .jif .pjpeg .pjp",
    "PNG": ".png .apng",
    "WebP": ".webp",
    "BMP": ".bmp .dib",
    "GIF": ".gif",
    "TIFF": ".tif .tiff",
    "HEIC": ".heic .heif .hif",
    "AVIF": ".avif",
    "JPEG 2000": ".jp2 .j2k .j2c .jpc .jpf .jpx",
    "JPEG XL": ".jxl",
    "JPEG XR": ".jxr .wdp .hdp",
    "SVG": ".svg .svgz",
    "Photoshop": ".psd .psb",
    "icon": ".ico .cur .icns",
    "Netpbm": ".ppm .pgm .pbm .pnm .pam .pfm",
    "TGA": ".tga",
    "PCX": ".pcx",
    "DDS": ".dds",
    "QOI": ".qoi",
    "OpenEXR": ".exr",
    "Radiance HDR": ".hdr",
    "DICOM": ".dcm .dicom",
    "NIfTI": ".nii",
    "FITS": ".fits .fit .fts",
    "camera raw": ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .orf .raf .rw2 .pef .srw",
}
_FORMATS = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
SUFFIXES = frozenset(suffix for suffix, name in _FORMATS.items() if name in READ)
"""The suffixes of images that are read, in lower case."""

FIRST_BYTES = 132
"""The number of bytes at the beginning of a file that tell its format."""
_MAGIC = {
    (0, b"\xff\xd8\xff"): "JPEG",
    (0, b"\x89PNG\r\n\x1a\n"): "PNG",
    (8, b"WEBPVP8"): "WebP",
    (0, b"GIF87a"): "GIF",
    (0, b"GIF89a"): "GIF",
    (0, b"II*\0"): "TIFF",
    (0, b"MM\0*"): "TIFF",
    (0, b"II+\0"): "TIFF",
    (0, b"MM\0+"): "TIFF",
    (4, b"ftypavi"): "AVIF",
    (4, b"ftyphei"): "HEIC",
    (4, b"ftyphev"): "HEIC",
    (4, b"ftypmif1"): "HEIC",
    (4, b"ftypmsf1"): "HEIC",
    (0, b"\0\0\0\x0cjP  \r\n"): "JPEG 2000",
    (0, b"\xff\x4f\xff\x51"): "JPEG 2000",
    (0, b"\xff\x0a"): "JPEG XL",
    (0, b"\0\0\0\x0cJXL \r\n"): "JPEG XL",
    (0, b"8BPS\0"): "Photoshop",
    (128, b"DICM"): "DICOM",
}
_ADVICE = "convert them to PNG or JPEG"


def format_of(path: Path) -> str | None:
    """Return the format of an image, by its suffix if that format is read, else by its first bytes, else by its
    suffix. Return None for a file that is no image."""
    by_name = _FORMATS.get(path.suffix.lower())
    if by_name in READ:
        return by_name
    try:
        with path.open("rb") as file:
            return format_of_bytes(file.read(FIRST_BYTES)) or by_name
    except OSError:
        return by_name


def format_of_bytes(first: bytes) -> str | None:
    """Return the format of an image that begins with the bytes ``first``, or None if it is not known."""
    if first[:2] == b"BM" and first[6:10] == bytes(4):  # two bytes alone may begin a text
        return "BMP"
    return next((name for (at, magic), name in _MAGIC.items() if first[at:].startswith(magic)), None)


@dataclass
class Unread:
    """The images of a folder in formats that are not read: (class, format) -> files, relative to the folder."""

    files: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.files.values()))

    def add(self, class_name: str, kind: str, file: str) -> None:
        """Record the image ``file`` of the format ``kind``."""
        self.files.setdefault((class_name, kind), []).append(file)

    def notes(self) -> list[str]:
        """Return a sentence with the number of files of each class and format, or nothing."""
        if not self.files:
            return []
        counts = [
            f"{len(files):,} {kind} of {shown(class_name)} ({examples(files, 2)})"
            for (class_name, kind), files in self.files.items()
        ]
        more = f"; and {len(counts) - 5:,} more classes and formats" if len(counts) > 5 else ""
        return [f"images in formats that are not read, left out: {'; '.join(counts[:5])}{more}; {_ADVICE}"]

    def refuse_lost_classes(self, where: str, read: set[str]) -> None:
        """Raise DataError if a class has such images and is not among the classes ``read``."""
        lost = Counter[str]()
        for (class_name, kind), files in self.files.items():
            if class_name not in read:
                lost[kind] += len(files)
        if lost:
            names = list(dict.fromkeys(class_name for class_name, _ in self.files if class_name not in read))
            counts = ", ".join(f"{count:,} {kind}" for kind, count in lost.items())
            raise DataError(
                f"{where}: {'class' if len(names) == 1 else 'classes'} {examples(names)} with images only in formats "
                f"that are not read ({counts}): {_ADVICE}, or move the folder away"
            )


def why_unread(first: bytes) -> str:
    """Return the reason why a file that begins with the bytes ``first`` is not read as an image."""
    kind = format_of_bytes(first)
    if kind in READ:
        return f"a {kind} that is damaged or of an unusual kind"
    if kind is not None:
        return f"{kind} is not read: convert it to PNG or JPEG"
    return f"not an image in a supported format: {', '.join(READ)}"
