"""Reading tables: separators, encodings, quotation marks, and what is refused with its reason."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.errors import DataError
from harness.data.tables import read_table

ROWS = [["a b.png", "cat"], ["ü.png", "big, dog"]]


def read(folder: Path, content: bytes, name: str = "t.csv") -> list[list[str]]:
    (folder / name).write_bytes(content)
    frame = read_table(folder / name, "filename")
    assert list(frame.columns) == ["filename", "label"]
    return frame.to_numpy().tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str, separator: str) -> None:
    text = f"Filename{separator} label{end}" + "".join(f'{name}{separator}"{label}"{end}' for name, label in ROWS)
    assert read(tmp_path, text.encode(encoding)) == ROWS


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('filename, label\na.png, "big, dog"\n', [["a.png", "big, dog"]]),
        ("filename,label\na.png, cat \n", [["a.png", " cat "]]),
        ('filename,label\n"a\n.png","say ""hi"""\n', [["a\n.png", 'say "hi"']]),
        ("filename,label\na.png\n\n , \nb.png,cat,,\n", [["a.png", ""], ["b.png", "cat"]]),
        ("\n\nfilename,label\nNA,007", [["NA", "007"]]),
        ("filename,label\n", []),
    ],
)
def test_cells_are_read_as_they_are_written(tmp_path: Path, text: str, rows: list[list[str]]) -> None:
    assert read(tmp_path, text.encode()) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "(it is empty): give it a line of column names, such as filename,label"),
        (b" \n,\n", "(it is empty)"),
        (
            b"filename,label\na,b\na,b,c\n",
            "t.csv, line 3: 3 cells, but 2 columns: put a cell that holds ',' in quotation",
        ),
        (b"filename;label\na;b;c\n", "t.csv, line 2: 3 cells, but 2 columns: put a cell that holds ';' in quotation"),
        (b'filename,label\na,"b\nc,d\n', "(line 3: a quotation mark is not closed, or closed within a cell): put such"),
        (b'filename,label\na,"b"c\n', "(line 2: a quotation mark is not closed, or closed within a cell): put such"),
        (
            b"filename,label\na,b\nc," + b"d" * 200_000,
            "(line 3: a cell of more than 131,072 characters): shorten it, or close its quotation marks",
        ),
        (b"d" * 200_000, "(line 1: a cell of more than 131,072 characters)"),
        (b"filename,label\na,b\n\xe9,d\n", "(line 3 is not UTF-8): save it as UTF-8"),
        (b"\xff\xfe", "(it is empty)"),
        ("filename,label\na,b".encode("utf-32"), "(it holds zero bytes): save it as UTF-8"),
        ("filename,label\na,b".encode("utf-16-le"), "(it holds zero bytes): save it as UTF-8"),
        (b"\xff\xfe\x00", "(line 1 is not UTF-16): save it as UTF-8"),
    ],
)
def test_what_is_not_a_table_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as refused:
        read(tmp_path, content)
    assert "\n" not in str(refused.value)


def test_parquet_of_any_type_is_text(tmp_path: Path) -> None:
    for filenames in (["a", "b"], [b"a", b"b"], pd.Categorical(["a", "b"])):
        frame = pd.DataFrame({"Filename": filenames, "label": [1, None]})
        for stored in (frame, frame.set_index("Filename")):
            stored.to_parquet(tmp_path / "t.parquet")
            found = read_table(tmp_path / "t.parquet", "filename")
            assert found[["filename", "label"]].to_numpy().tolist() == [["a", "1.0"], ["b", ""]]


def test_damaged_parquet_is_refused_in_own_words(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pd.DataFrame({"filename": ["a", "b"] * 50, "label": ["c", "d"] * 50}).to_parquet(file)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    draws = np.random.default_rng(0)
    said = set()
    for _ in range(60):
        damaged = whole.copy()
        damaged[draws.integers(0, len(whole), 3)] = draws.integers(0, 256, 3)
        file.write_bytes(damaged[: draws.choice([len(whole), len(whole) // 2])].tobytes())
        try:
            read_table(file, "filename")
        except DataError as error:
            said.add(str(error))
    assert said == {
        f"{file} cannot be read as a table (it is no Parquet file, or damaged): write it again, or give a .csv"
    }
