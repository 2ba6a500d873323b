"""Drop from PNG and JPEG files what neither pixels nor orientation need.

Pillow refuses a whole image over a part that is not needed: text or a colour profile of more than 1 MB, an entry that
is malformed, a wrong checksum.
"""

import io
import struct
import zlib
from typing import BinaryIO

from PIL.PngImagePlugin import PngStream

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_EXIF = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}  # chunks that may hold an orientation; the texts with these keys
_KEYS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")

_JPEG = b"\xff\xd8\xff"
_SCAN = 0xDA  # marker of the pixels
_COMMENT = 0xFE
_APPLICATION = range(0xE0, 0xF0)
_LONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
# Kept of the application segments: colour transform (with their least lengths) and orientation.
_NEEDED = {
    (0xE0, b"JFIF\0"): 14,
    (0xEE, b"Adobe"): 12,
    (0xE1, b"Exif\0\0"): 0,
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0"): 0,
}


def essentials(file: BinaryIO) -> BinaryIO:
    """Return a PNG or JPEG without what is not needed, in memory, and any other file as it is."""
    if not file.seekable():  # a pipe
        file = io.BytesIO(file.read())
    first = file.read(len(_PNG))
    file.seek(0)
    if first == _PNG:
        return _png(file)
    return _jpeg(file.read()) if first.startswith(_JPEG) else file


def _png(file: BinaryIO) -> BinaryIO:
    end = file.seek(0, io.SEEK_END)
    file.seek(len(_PNG))
    kept = io.BytesIO()
    kept.write(_PNG)
    reader = PngStream(kept)  # one for all chunks: it limits what they hold together
    kind = b""
    while kind != b"IEND" and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        if kind in _PIXELS or kind in _EXIF:
            body = file.read(min(length + 4, end - file.tell()))  # with the checksum
            if kind in _PIXELS or _is_valid(reader, kind, body):
                kept.write(head + body)
        else:
            file.seek(length + 4, io.SEEK_CUR)
    kept.seek(0)
    return kept


def _is_valid(reader: PngStream, kind: bytes, body: bytes) -> bool:
    """Return whether a chunk may hold an orientation and Pillow can read it."""
    data, checksum = body[:-4], body[-4:]
    if kind != b"eXIf" and not data.startswith(_KEYS):
        return False
    reader.fp = io.BytesIO(data)
    try:
        reader.call(kind, 0, len(data))
    except (ValueError, SyntaxError):
        return False
    return checksum == struct.pack(">L", zlib.crc32(kind + data))


def _jpeg(content: bytes) -> BinaryIO:
    kept = io.BytesIO()
    kept.write(content[:2])
    at = 2
    while len(head := content[at : at + 4]) == 4 and head[0] == 0xFF and head[1] != _SCAN:
        marker, length = head[1], int.from_bytes(head[2:])
        if marker == 0xFF:  # fills up
            at += 1
        elif marker in _LONE:
            kept.write(head[:2])
            at += 2
        elif at + 2 + length > len(content):  # truncated
            break
        else:
            segment = content[at : at + 2 + length]
            if (marker not in _APPLICATION and marker != _COMMENT) or _is_needed(marker, segment[4:]):
                kept.write(segment)
            at += 2 + length
    kept.write(content[at:])
    kept.seek(0)
    return kept


def _is_needed(marker: int, data: bytes) -> bool:
    return any(
        marker == needed and data.startswith(name) and len(data) >= least for (needed, name), least in _NEEDED.items()
    )
