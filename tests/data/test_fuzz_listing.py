"""Random manifests and folders are read rightly or refused in one line; nothing is left out without a note."""

import csv
import io
import os
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.core.errors import DataError
from harness.core.spec import DatasetSpec
from harness.data.__main__ import main as data_main
from harness.data.listing import Listing, part_name, printable
from harness.data.sources import read_listing


def fuzzed(few: int, many: int, **given_by: Any) -> Callable[[Any], Any]:
    """Run a test on ``few`` examples, or with the marker large on ``many``."""

    def decorate(test: Any) -> Any:
        @pytest.mark.parametrize("n", [few, pytest.param(many, marks=pytest.mark.large)])
        def run(n: int) -> None:
            fixed = settings(max_examples=n, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
            fixed(given(**given_by)(test))()

        run.__name__ = test.__name__
        run.__doc__ = test.__doc__
        return run

    return decorate


FILES = [
    "a.png", "b c.png", "ü.png", "x,y.png", 'q"q.png', "semi;colon.png", "sub/deep.png", "sub/é/0.png", "007.png",
    "tab\t.png", "#.png", "UPPER.PNG", "p|q.webp", "новый/ё.jpg", "two.dots.png", "new\nline.png",
]  # fmt: skip
LABELS = ["cat", "Zoë", "big, dog", 'say "hi"', "NA", "007", "7", "a;b", "tab\tbed", "новый", "a|b", "=1+1", "nan", "0"]
PARTS = {
    "train": ["train", "Training", " TRAIN "],
    "validation": ["val", "valid", "Dev"],
    "test": ["test", "Test Set", "eval"],
}

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "Windows": lambda name: name.replace("/", "\\"),
    "upper case": lambda name: name.upper() if name.upper().lower() == name.lower() else name,
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "blank after": lambda name: f"{name} ",
    "no suffix": lambda name: name.rpartition(".")[0],
}


@st.composite
def manifests(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]], bytes, str]:
    """Draw the true rows (file, label, part), the same as they are written, the bytes of a CSV, and a folder."""
    files = draw(st.lists(st.sampled_from(FILES), min_size=2, unique=True))
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=2, max_size=4, unique=True))
    pick = [*labels[:2], *(draw(st.sampled_from(labels)) for _ in files[2:])]
    true, written = [], []
    for file, label in zip(files, pick, strict=True):
        part = draw(st.sampled_from(sorted(PARTS)))
        spelled = SPELLINGS[draw(st.sampled_from(sorted(SPELLINGS)))](file)
        word = draw(st.sampled_from([label, f"{label} ", f" {label}", unicodedata.normalize("NFD", label)]))
        true.append((file, label, part))
        written.append((spelled, word, draw(st.sampled_from(PARTS[part]))))
    columns = [("filename", 0), ("label", 1), ("split", 2), ("more, of it", None)]
    columns = draw(st.permutations(columns))
    case = draw(st.sampled_from([str, str.upper, str.title]))
    blank = draw(st.sampled_from(["", " "]))
    text = io.StringIO(newline="")
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if end == "\r":  # then a line feed in a cell is left unquoted by the minimum, and ends the row for every reader
        quoting = csv.QUOTE_ALL
    writer = csv.writer(text, delimiter=draw(st.sampled_from(",;\t|")), lineterminator=end, quoting=quoting)
    writer.writerow([case(name) + blank for name, _ in columns])
    for row in written:
        writer.writerow(["x" if index is None else row[index] for _, index in columns])
        text.write(end * draw(st.integers(0, 1)))
    content = text.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    return true, written, content, draw(st.sampled_from(["", "Images", "images"]))


def write(home: Path, files: list[str], *, images: bool = False) -> None:
    """Write ``files`` below ``home``: empty, or small images."""
    for number, file in enumerate(files):
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if images:
            Image.new("L", (9, 9), number).save(path, "PNG")


def listed(path: Path) -> Listing | None:
    """Read a data set; None if it is refused, in one line."""
    try:
        return read_listing(DatasetSpec(name="set", file=path))
    except DataError as error:
        refusal = str(error)
    assert refusal and "\n" not in refusal and len(refusal) < 2000
    return None


@fuzzed(40, 250, drawn=manifests())
def test_a_written_manifest_is_read_rightly(drawn: tuple[list[tuple[str, str, str]], Any, bytes, str]) -> None:
    true, written, content, folder = drawn
    with tempfile.TemporaryDirectory() as home:
        write(Path(home, folder), [file for file, _, _ in true])
        Path(home, "m.csv").write_bytes(content)
        listing = listed(Path(home, "m.csv"))
        assert listing is not None and listing.files is not None
        found = [
            (os.path.relpath(listing.path(row), Path(home, folder)), listing.class_names[label], part)
            for row, (label, part) in enumerate(zip(listing.labels, listing.parts.tolist(), strict=True))
        ]
        assert found == true
        other = sum(file != spelled for (file, _, _), (spelled, _, _) in zip(true, written, strict=True))
        noted = [note for note in listing.notes if "spelled differently in the manifest" in note]
        assert (f"all the same: {other} (" in noted[0]) if other else not noted


EDITS = [
    b'"',
    b",",
    b";",
    b"\t",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xfe",
    b"\xe9",
    b" ",
    b"|",
    b"a",
    b"0",
    b"\\",
    b"..",
    b"/",
]
RECODED: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "half": lambda content: content[: len(content) // 2],
    "latin-1": lambda content: content.decode("utf-8", "replace").encode("latin-1", "replace"),
    "utf-16 without its mark": lambda content: content.decode("utf-8", "replace").encode("utf-16-le"),
    "utf-32": lambda content: content.decode("utf-8", "replace").encode("utf-32"),
    "twice": lambda content: content * 2,
}


@fuzzed(
    25,
    300,
    drawn=manifests(),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(EDITS)), max_size=4),
    recoded=st.sampled_from(sorted(RECODED)),
    name=st.sampled_from(["m.csv", "train.csv", "test.CSV", "m.parquet"]),
)
def test_a_damaged_manifest_is_reported_or_refused_in_one_line(
    drawn: tuple[list[tuple[str, str, str]], Any, bytes, str],
    edits: list[tuple[float, int, bytes]],
    recoded: str,
    name: str,
) -> None:
    true, _, content, folder = drawn
    for where, out, put in edits:
        at = int(where * len(content))
        content = content[:at] + put + content[at + out :]
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patched:
        patched.setenv("HARNESS_CACHE", str(Path(home, "cache")))
        write(Path(home, folder), [file for file, _, _ in true], images=True)
        Path(home, name).write_bytes(RECODED[recoded](content))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = data_main(["check", str(Path(home, name))])
        assert code in (0, 2)
        assert (
            (err.getvalue().count("\n") == 1 and err.getvalue().startswith("error: ")) if code else not err.getvalue()
        )
        assert code or out.getvalue()


NAMES = st.sampled_from([
    "train", "test", "val", "Training Set", "test_images", "VALID", "holdout", "seg_train", "seg_test", "cat", "dog",
    "Dog", "Zoë", "Zoe\u0308", "0", "1.0", "cat ", "1", "a\nb", ".hidden", "p1", "images", "\udcff", "steam train",
])  # fmt: skip
IMAGES = st.sampled_from(["a.png", "b.JPG", "ü.jpeg", ".c.png", "notes.txt", "d.png", "train.png"])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.lists(IMAGES, max_size=3, unique=True).map(dict.fromkeys),
    lambda inner: st.tuples(
        st.dictionaries(NAMES, inner, max_size=4),
        st.lists(IMAGES, max_size=2, unique=True),
        st.sampled_from([None, None, "up", "broken", "self"]),
    ).map(lambda tree: {**tree[0], **dict.fromkeys(tree[1]), **({f"link{tree[2]}": tree[2]} if tree[2] else {})}),
    max_leaves=14,
)


def plant(folder: Path, tree: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    for name, inner in tree.items():
        path = folder / name
        if inner is None:
            path.touch()
        elif isinstance(inner, str):
            path.symlink_to({"up": folder.parent, "broken": folder / "nothing", "self": path}[inner])
        else:
            plant(path, inner)


@fuzzed(60, 250, tree=TREES)
def test_a_folder_is_read_rightly_or_refused(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as home:
        root = Path(home, "set")
        plant(root, tree)
        listing = listed(root)
        if listing is None:
            return
        assert listing.files is not None and len(set(listing.files)) == len(listing.files)
        ways = [Path(file).parts for file in listing.files]
        parts = listing.parts.tolist()
        is_class = {way[0] for way in ways}
        if len({part_name(top) for top in is_class} - {None}) > 1 or set(parts) != {"train"}:
            assert [part_name(way[0]) for way in ways] == parts, "parts by their names are parts"
            ways = [way[1:] for way in ways]
            ways = [
                way[1:] if part_name(way[0]) == part and len(way) > 2 else way
                for way, part in zip(ways, parts, strict=True)
            ]
        elif all(part_name(top) == "train" for top in is_class):
            ways = [way[1:] for way in ways]
        for way, label in zip(ways, listing.labels.tolist(), strict=True):
            name = printable(unicodedata.normalize("NFC", way[0]).strip())
            assert listing.class_names[label] in (name, name.partition(".")[0])
        there = {
            os.path.relpath(Path(above, name), root)
            for above, _, names in os.walk(root)
            for name in names
            if not any(piece.startswith(".") for piece in (*Path(above).relative_to(root).parts, name))
            and name.lower().endswith((".png", ".jpg", ".jpeg"))
            and Path(above, name).is_file()
        }
        assert set(listing.files) <= there
        if there - set(listing.files):
            assert any("left out" in note for note in listing.notes)
        if any(".hidden" in Path(above).parts for above, _, _ in os.walk(root)):
            assert any("left out" in note for note in listing.notes)
