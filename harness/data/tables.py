"""Read a table of text: CSV in the usual separators and Unicode encodings, or Parquet."""

import codecs
import csv
import io
from pathlib import Path

import pandas as pd

from harness.core.errors import DataError

SUFFIXES = frozenset({".csv", ".parquet"})
_SEPARATORS = ",;\t|"


def read_table(path: Path, key: str) -> pd.DataFrame:
    """Read ``path`` with every cell as text, since "007" and "NA" may be labels, and column names in lower case.

    Args:
        path: a CSV, whose separator is the one with which its first line has a column ``key``, or a Parquet file.
        key: the name of a column.

    Raises:
        DataError: it is not a table, or a row has more cells than there are columns.
    """
    frame = _csv(path, key) if path.suffix.lower() == ".csv" else _parquet(path)
    return frame.rename(columns=lambda column: str(column).strip().casefold())


def _csv(path: Path, key: str) -> pd.DataFrame:
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((sign for sign in _SEPARATORS if key in _columns(first, sign)), ",")
    quoted_after_blank = f'{separator} "' in text  # without a quotation mark there, a blank belongs to the cell
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=quoted_after_blank)
    header: list[str] = []
    rows = []
    try:
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if not header:
                header = row
                continue
            if any(map(str.strip, row[len(header) :])):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(row)} cells, but {len(header)} columns: put a cell that "
                    f"holds {separator!r} in quotation marks"
                )
            rows.append([*row, *[""] * (len(header) - len(row))][: len(header)])
    except csv.Error as error:
        where, fix = f"line {reader.line_num}", "put such a cell in quotation marks and double those within it"
        if "field limit" in str(error):  # most likely a quotation mark opened it, and none closes it
            why = f"{where}: a cell of more than {csv.field_size_limit():,} characters"
            raise _unreadable(path, why, "shorten it, or close its quotation marks") from None
        why = f"{where}: a quotation mark is not closed, or closed within a cell"
        raise _unreadable(path, why, fix) from None
    if not header:
        raise _unreadable(path, "it is empty", "give it a line of column names, such as filename,label")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _columns(line: str, separator: str) -> list[str]:
    try:
        return [name.strip().casefold() for name in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # who reads the whole table says where
        return []


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"line {line} is not {'UTF-16' if utf_16 else 'UTF-8'}", "save it as UTF-8") from None
    if "\0" in text:
        raise _unreadable(path, "it holds zero bytes", "save it as UTF-8")
    return text


def _parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise DataError(f"{path} is a Parquet file: `pip install pyarrow` to read it, or give a .csv") from None
    except PermissionError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError):  # the errors of Arrow are subclasses
        raise _unreadable(path, "it is no Parquet file, or damaged", "write it again, or give a .csv") from None
    return as_texts(frame.reset_index(allow_duplicates=True))


def as_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every cell as text, a missing one as the empty text."""
    cells = frame.astype(object)
    return cells.where(cells.notna(), "").map(_as_text)


def _as_text(cell: object) -> str:
    return cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else str(cell)


def _unreadable(path: Path, why: str, fix: str) -> DataError:
    return DataError(f"{path} cannot be read as a table ({why}): {fix}")
