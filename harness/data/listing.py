"""The contents of a data set without its images: names, labels, parts and groups."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError

PartName = Literal["train", "validation", "test"]
PART_NAMES: tuple[PartName, ...] = ("train", "validation", "test")
_WORDS: dict[PartName, str] = {
    "train": "train|training|trn",
    "validation": "validation|valid|val|development|devel|dev",
    "test": "test|testing|tst|evaluation|eval|holdout|heldout",
}
_AFFIXES = "(?:dataset|data|set|images|imgs|images|photos|split|part|folder)*"
_PARTS: dict[PartName, re.Pattern[str]] = {
    part: re.compile(f"{_AFFIXES}(?:{words}){_AFFIXES}") for part, words in _WORDS.items()
}
_WHOLE = re.compile(r"\d+(\.0*)?")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?e[+-]?\d{1,2}")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([,.'’_ ]\d{3})+")
_PIECES = re.compile(r"\d+|[^\d\s!-/:-@\[-`{-~]+")  # numbers, and text between blanks, punctuation and numbers


@dataclass(frozen=True, eq=False)
class Listing:
    """The rows of a data set, n of them.

    ``home`` is an ``.npz`` (then ``files`` is None), or the folder of the ``files`` (n). ``labels`` (n,) index
    ``class_names``. ``parts`` (n,) are "train", "validation" or "test", or all "train" if the data set is not split.
    ``groups`` (n,) number the rows that must stay on one side of a split, or None. ``notes`` are sentences on what was
    left out and what looks odd.
    """

    name: str
    home: Path
    files: tuple[str, ...] | None
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    parts: NDArray[np.str_]
    groups: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, row: int) -> Path:
        """Return the file of a row. Only for a listing of files."""
        assert self.files is not None
        return self.home / self.files[row]

    def row_name(self, row: int) -> str:
        """Return a printable name of a row: its file as listed, or its number."""
        return str(int(row)) if self.files is None else printable(self.files[row])

    @classmethod
    def of_words(
        cls,
        name: str,
        home: Path,
        files: Sequence[str],
        words: Sequence[str],
        parts: Sequence[str],
        groups: Sequence[str] | None = None,
        notes: Iterable[str] = (),
    ) -> "Listing":
        """Build a listing from the class name, part and optional group of each file. Classes are sorted by name, or by
        number if all are numbers. For spellings see `_classes` and `numbered`. Raises DataError for fewer than two
        classes."""
        class_of, merged = _classes(words)
        notes = [*notes, *merged]
        words = [class_of[word] for word in words]
        found = set(words)
        class_names = sorted(found)
        if all(word.isdecimal() and len(word) <= 18 for word in found):
            class_names.sort(key=int)
        if len(class_names) < 2:
            what = f"one class only ({shown(class_names[0])})" if class_names else "no labelled image"
            raise DataError(
                "; ".join([f"{name} ({home}) has {what}: give two classes or more, each with images", *notes])
            )
        notes += twin_notes(class_names)
        numbers, group_notes = (None, []) if groups is None or not any(map(str.strip, groups)) else numbered(groups)
        number = {word: label for label, word in enumerate(class_names)}
        return cls(
            name,
            home,
            tuple(files),
            np.array([number[word] for word in words], np.int64),
            tuple(printable(word) for word in class_names),
            np.array(parts, np.str_),
            numbers,
            (*notes, *group_notes),
        )


def _classes(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Map each of ``words`` to its class, and note which spellings are of one: Unicode forms, blanks around a word and,
    where all words are whole numbers, 1 and 1.0."""
    class_of = {word: unicodedata.normalize("NFC", word).strip() or word for word in dict.fromkeys(words)}
    names = set(class_of.values())
    if all(map(_WHOLE.fullmatch, names)) and any(map(str.isdecimal, names)):
        class_of = {word: name.partition(".")[0] for word, name in class_of.items()}
    spellings: dict[str, list[str]] = {}
    for word, name in class_of.items():
        spellings.setdefault(name, []).append(word)
    several = [found for found in spellings.values() if len(found) > 1]
    return class_of, [] if not several else [
        "labels in more than one spelling (blanks, Unicode, 1 and 1.0), each read as one class: "
        f"{_equal(several)}; if they are different classes, give them different names"
    ]


def part_name(word: str) -> PartName | None:
    """Return the part that a folder's name or a manifest's entry names, or None. Case, width of letters, blanks,
    punctuation and digits do not matter: "Training Set", "val_images", "test2017"."""
    letters = re.sub(r"[\W\d_]+", "", unicodedata.normalize("NFKC", word).casefold())
    return next((part for part, pattern in _PARTS.items() if pattern.fullmatch(letters)), None)


def part_names_in(word: str) -> set[PartName]:
    """Return the parts that are named within ``word``, as in "seg_train", which is not a part itself."""
    return {part for piece in re.findall(r"[^\W\d_]+", word) if (part := part_name(piece)) is not None}


_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates other than those that stand for a byte of a file name."""


def printable(name: str) -> str:
    """Return a name from data as text that every database accepts, with invalid Unicode and NUL escaped."""
    whole = _HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", name)
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\0")


def shown(name: str) -> str:
    """Return a name from data as printable text: quoted, on one line, without control characters, shortened."""
    quoted = repr(printable(name))
    return quoted if len(quoted) <= 100 else f"{quoted[:60]}…{quoted[-39:]}"


def examples(names: Sequence[str], most: int = 3) -> str:
    """Return the first few ``names``, printable, and the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def twin_notes(class_names: Sequence[str]) -> list[str]:
    """Return a sentence for each set of classes that differ in spelling only."""
    notes = []
    for twins in [*_spellings(class_names).values(), *_spellings(class_names, _number).values()]:
        if len(twins) > 1:
            how = "upper and lower case" if len({word.casefold() for word in twins}) == 1 else "spelling"
            notes.append(
                f"the classes {', '.join(map(shown, twins))} differ in {how} only: they are kept apart; if they are "
                "one class, merge them"
            )
    return list(dict.fromkeys(notes))


def numbered(groups: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each row's group (n,), and notes on spellings. A blank group is a group of its own.
    Spellings are merged: a patient on both sides of a split does more harm than two patients merged into one."""
    spellings = _spellings(dict.fromkeys(groups))
    of_word = {word: reading for reading, words in spellings.items() for word in words}
    known: dict[object, int] = {}
    keys = (of_word[group] or ("row", row) for row, group in enumerate(groups))
    numbers = np.array([known.setdefault(key, len(known)) for key in keys], np.int64)
    blank = sum(of_word[group] == "" for group in groups)
    spellings.pop("", None)
    several = [words for words in spellings.values() if len(words) > 1]
    bare: dict[tuple[str, ...], list[str]] = {}
    for reading, words in spellings.items():
        number = _number(words[0])
        pieces = [] if _NUMBER.fullmatch(number) else _PIECES.findall(reading)
        bare.setdefault(tuple(piece.lstrip("0") for piece in pieces) or (number,), []).append(words[0])
    alike = [words for words in bare.values() if len(words) > 1]
    notes = []
    if several:
        notes.append(
            "groups in more than one spelling (blanks, upper and lower case, zeros, Unicode), each read as one: "
            f"{_equal(several)}; if they are different groups, give them different names"
        )
    if alike:
        notes.append(
            f"groups that differ in punctuation or zeros only, kept apart: {_equal(alike)}; if they are one group, "
            "which must not be on two sides of a split, spell them the same"
        )
    if blank:
        notes.append(f"rows without a group, each read as a group of its own: {blank:,}")
    return numbers, notes


def _equal(groups: Sequence[Sequence[str]]) -> str:
    more = " and others" if len(groups) > 1 else ""
    return f"{len(groups):,} ({' = '.join(map(shown, groups[0][:3]))}{more})"


def reading(word: str) -> str:
    """Return a normalized form of ``word``: whitespace, case, Unicode form and invisible characters do not matter, and
    a number is normalized to its value."""
    found = _text(word)
    return _value(found) if _NUMBER.fullmatch(found) else found


def _number(word: str) -> str:
    """Return the reading of ``word``, of a number also where it has thousands separators or an exponent."""
    found = _text(word)
    if _THOUSANDS.fullmatch(found):
        return re.sub(r"[^\d+-]", "", found)
    return _value(found) if _EXPONENT.fullmatch(found) else reading(word)


def _spellings(words: Iterable[str], form: Callable[[str], str] = reading) -> dict[str, list[str]]:
    """Map each reading of ``words`` to its spellings."""
    found: dict[str, list[str]] = {}
    for word in words:
        found.setdefault(form(word), []).append(word)
    return found


def _text(word: str) -> str:
    visible = "".join(sign for sign in word if unicodedata.category(sign) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())


def _value(number: str) -> str:
    value = f"{Decimal(number):f}"
    return value.rstrip("0").rstrip(".") if "." in value else value
