"""Read plain arrays from an ``.npz``. The arrays of Python objects are refused unread, so that nothing is unpickled."""

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from harness.core.errors import DataError

# What zipfile, its compressors and NumPy raise on damaged or hostile files (RuntimeError if they are encrypted).
_DAMAGE = (
    OSError, ValueError, EOFError, KeyError, SyntaxError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error,
    lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Header:
    """Shape and type of an array that is not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_headers(path: Path, names: Collection[str]) -> dict[str, Header]:
    """Return the headers of those of the arrays ``names`` that the file holds. Raises DataError if the file is damaged
    or an array is not plain."""

    def read(archive: zipfile.ZipFile) -> dict[str, Header]:
        found = {}
        for name in names:
            if f"{name}.npy" in archive.namelist():
                member = archive.getinfo(f"{name}.npy")
                with archive.open(member) as file:
                    found[name] = _header(file, name, member.file_size)
        return found

    return _reading(path, read)


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Return an array after its header was read. Raises DataError if it is damaged or does not fit into memory."""

    def read(archive: zipfile.ZipFile) -> NDArray[Any]:
        member = archive.getinfo(f"{name}.npy")
        _check_memory(name, member.file_size)
        with archive.open(member) as file:
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return values

    return _reading(path, read)


class _Refused(Exception):
    """Raised for an array that is not read. The message says why and what to give."""


def _check_memory(name: str, size: int) -> None:
    """Raise _Refused where an array of ``size`` bytes would not fit: the system would end the process without a
    word."""
    free = psutil.virtual_memory().available
    if size > free:
        raise _Refused(
            f"{name} take {size / 1e9:,.1f} GB in memory, of which {free / 1e9:,.1f} GB are free: give fewer, or image "
            "files, which are not all held there"
        )


def _header(file: IO[bytes], name: str, size: int) -> Header:
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise _Refused(f"{name} holds Python objects: give plain numbers or texts")
    if dtype.names or dtype.subdtype:
        raise _Refused(f"{name} holds records: give plain numbers or texts")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError  # its header is wrong: NumPy would allocate what it claims
    return Header(tuple(shape), dtype)


def _reading(path: Path, read: Callable[[zipfile.ZipFile], _Result]) -> _Result:
    try:
        with zipfile.ZipFile(path) as archive:
            return read(archive)
    except _Refused as error:
        raise DataError(f"{path}: {error}") from None
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.strerror and error.filename:
            raise DataError(f"{path} cannot be opened ({error.strerror}): make it readable") from None
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: write it again with numpy.savez") from None
