"""What a data set holds, without a pixel of it: names, labels, parts and groups."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
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
_BESIDE = "(?:dataset|data|set|images|imgs|images|photos|split|part|folder)*"
_PARTS: dict[PartName, re.Pattern[str]] = {
    part: re.compile(f"{_BESIDE}(?:{words}){_BESIDE}") for part, words in _WORDS.items()
}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_PIECES = re.compile(r"\d+|[^\d\s!-/:-@\[-`{-~]+")  # numbers, and what is between them and blanks and marks


@dataclass(frozen=True, eq=False)
class Listing:
    """The rows of a data set, n of them.

    ``home`` is the ``.npz`` whose rows these are, or the folder in which ``files`` (n) are; ``files`` is None for an
    ``.npz``. ``labels`` (n,) index ``class_names``; ``parts`` (n,) says "train", "validation" or "test", "train" for
    all where the data set has no parts of its own; ``groups`` (n,) numbers what must stay on one side of a split, None
    where nothing must. ``notes`` say in words what was left out and what looks odd.
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
        """The file of a row; only for a listing of files."""
        assert self.files is not None
        return self.home / self.files[row]

    def row_name(self, row: int) -> str:
        """A row in words that can be shown and stored: its file as in the listing, or its number."""
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
        """From one class name, part and maybe group a file. Classes are sorted by name, by number where all are
        numbers; names that Unicode writes in two ways are one. Groups are those of `numbered`. Raises DataError for
        fewer than two classes."""
        notes = list(notes)
        words = [unicodedata.normalize("NFC", word) for word in words]
        found = set(words)
        class_names = sorted(found)
        if all(word.isdecimal() and len(word) <= 18 for word in found):
            class_names.sort(key=int)
        if len(class_names) < 2:
            what = f"one class only ({shown(class_names[0])})" if class_names else "no labelled image"
            raise DataError(
                "; ".join([f"{name} ({home}) has {what}: give two classes or more, each with images", *notes])
            )
        for twins in _spellings(class_names).values():
            if len(twins) > 1:
                how = "upper and lower case" if len({word.casefold() for word in twins}) == 1 else "spelling"
                notes.append(
                    f"the classes {', '.join(map(shown, twins))} differ in {how} only: they are kept apart; if they "
                    "are one class, put them together"
                )
        numbers, said = (None, []) if groups is None or not any(map(str.strip, groups)) else numbered(groups)
        number = {word: label for label, word in enumerate(class_names)}
        return cls(
            name,
            home,
            tuple(files),
            np.array([number[word] for word in words], np.int64),
            tuple(printable(word) for word in class_names),
            np.array(parts, np.str_),
            numbers,
            (*notes, *said),
        )


def part_name(word: str) -> PartName | None:
    """The part that ``word`` (a folder's name, a manifest's entry) means, None where it means none: "Training Set",
    "val_images", "test2017"; case, blanks, marks and digits do not matter."""
    letters = re.sub(r"[\W\d_]+", "", word.casefold())
    return next((part for part, pattern in _PARTS.items() if pattern.fullmatch(letters)), None)


def part_names_in(word: str) -> set[PartName]:
    """The parts that ``word`` names besides something else: "seg_train" names one and means none."""
    return {part for piece in re.findall(r"[^\W\d_]+", word) if (part := part_name(piece)) is not None}


def printable(name: str) -> str:
    """A name from data as text that every database takes: what is not Unicode is escaped, and NUL."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\0")


def shown(name: str) -> str:
    """A name from data as it may be printed: quoted, on one line, no control characters, not too long."""
    quoted = repr(printable(name))
    return quoted if len(quoted) <= 100 else f"{quoted[:60]}…{quoted[-39:]}"


def examples(names: Sequence[str], most: int = 3) -> str:
    """The first few of ``names``, printable, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def numbered(groups: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The number of each row's group, and notes on spellings. A group is one however it is spelled, since a patient on
    two sides of a split costs more than two patients on one. A row without a group (blank) is a group of its own."""
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
        pieces = [] if _NUMBER.fullmatch(reading) else _PIECES.findall(reading)
        bare.setdefault(tuple(piece.lstrip("0") for piece in pieces) or (reading,), []).append(words[0])
    alike = [words for words in bare.values() if len(words) > 1]
    notes = []
    if several:
        notes.append(
            "groups in more than one spelling (blanks, upper and lower case, zeros, Unicode), each taken for one: "
            f"{_equal(several)}; where they are different groups, give them different names"
        )
    if alike:
        notes.append(
            f"groups that differ in marks or zeros only, kept apart: {_equal(alike)}; if they are one group, which "
            "must not be on two sides of a split, write them in one way"
        )
    if blank:
        notes.append(f"rows without a group, each taken for a group of its own: {blank:,}")
    return numbers, notes


def _equal(groups: Sequence[Sequence[str]]) -> str:
    more = " and others" if len(groups) > 1 else ""
    return f"{len(groups):,} ({' = '.join(map(shown, groups[0][:3]))}{more})"


def _spellings(words: Iterable[str]) -> dict[str, list[str]]:
    """What ``words`` are read as, each with its spellings: without white space around and doubled and what is not seen,
    in one case and one of Unicode's forms, a number as its value."""
    found: dict[str, list[str]] = {}
    for word in words:
        seen = "".join(sign for sign in word if unicodedata.category(sign) != "Cf")
        reading = " ".join(unicodedata.normalize("NFKC", seen).casefold().split())
        if _NUMBER.fullmatch(reading):
            value = f"{Decimal(reading):f}"
            reading = value.rstrip("0").rstrip(".") if "." in value else value
        found.setdefault(reading, []).append(word)
    return found
