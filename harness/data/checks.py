"""Check a data set: counts, sizes, unreadable files, duplicates, conflicting labels, class imbalance."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from harness.core.errors import DataError
from harness.data.duplicates import LEAST_CORRELATION, exact, near
from harness.data.inspection import Facts
from harness.data.listing import PART_NAMES, Listing, examples, shown

IMBALANCE = 10
"""Warn if a class has this many times the training images of another."""
NARROW = 64
"""Warn about images whose values span fewer of the 256 than this."""
TINY = 8
"""Warn about images whose shorter side is below this many pixels."""
FEWEST = 3
"""Images that a class needs: one each for training, validation and test."""
_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """The findings on one data set. Images are named as by `Listing.row_name`.

    ``counts``: class -> part -> images; ``sizes``: smallest, median and largest width and height, and the number of
    different sizes; ``unreadable``: name and reason; ``exact``: the names of each set of exact duplicates; ``near``:
    pairs of near duplicates; ``across``: duplicates of both kinds in more than one part; ``conflicts``: exact
    duplicates with different classes; ``constant``: images of a single value; ``tiny``: images below `TINY` pixels;
    ``narrow``: images of 16 bits that span fewer than `NARROW` values of 8 bits, or all images if together they do.
    """

    name: str
    images: int
    counts: dict[str, dict[str, int]]
    sizes: dict[str, list[int] | int]
    unreadable: list[tuple[str, str]]
    exact: list[list[str]]
    near: list[list[str]]
    across: list[list[str]]
    conflicts: list[list[str]]
    constant: list[str]
    tiny: list[str]
    narrow: list[str]
    notes: list[str]

    def warnings(self) -> list[str]:
        """Return one sentence for each finding that a user should know before running a study."""
        totals = {name: sum(parts.values()) for name, parts in self.counts.items()}
        training = {name: parts.get("train", 0) for name, parts in self.counts.items()}
        few = [f"{name} {total}" for name, total in totals.items() if total < FEWEST]
        most, least = max(training, key=training.__getitem__), min(training, key=training.__getitem__)
        findings = {
            "files that cannot be read, left out": (len(self.unreadable), _reasons(self.unreadable[:3])),
            "images in more than one part, exact or near copies": (len(self.across), _first(self.across)),
            "images under more than one class": (len(self.conflicts), _first(self.conflicts)),
            "exact copies of other images": (sum(len(names) - 1 for names in self.exact), _first(self.exact)),
            "constant images": (len(self.constant), examples(self.constant)),
            f"images under {TINY} pixels high or wide": (len(self.tiny), examples(self.tiny)),
            "images whose values span less than a quarter of their range, nearly black or flat as 8 bits (12 bits in a "
            "file of 16 do); scale them to the whole range": (len(self.narrow), examples(self.narrow)),
            f"classes of fewer than {FEWEST} images, one for each part": (len(few), examples(few)),
        }
        sentences = [f"{what}: {count:,} ({instances})" for what, (count, instances) in findings.items() if count]
        if training[most] >= IMBALANCE * max(1, training[least]):
            sentences.append(
                f"the classes are unbalanced: {training[most]:,} training images of {shown(most)}, {training[least]:,} "
                f"of {shown(least)}; accuracy says little about small classes"
            )
        return sentences + self.notes

    def as_dict(self, most: int | None = None) -> dict[str, Any]:
        """Return plain values. Lists are cut to ``most`` entries; "found" holds their full lengths."""
        values = asdict(self)
        lists = [name for name, value in values.items() if isinstance(value, list)]
        found = {name: len(values[name]) for name in lists}
        shortened = {name: values[name][:most] for name in lists}
        return {**values, **shortened, "found": found, "warnings": self.warnings()}

    def refuse_unreadable(self) -> None:
        """Raise DataError if a file cannot be read."""
        if self.unreadable:
            raise DataError(
                f"{len(self.unreadable):,} of {self.images:,} files of {self.name} cannot be read: "
                f"{_reasons(self.unreadable)}: fix or remove them"
            )


def check(listing: Listing, facts: Facts, parts: NDArray[np.str_]) -> Report:
    """Check ``listing`` with the part of each row in ``parts`` (n,): its own or a study's ("" for unused rows)."""
    readable = facts.readable()
    names = [listing.row_name(row) for row in range(len(listing))]
    n_classes = len(listing.class_names)
    copies, alike = exact(facts, readable), near(facts, readable)

    def named(rows: NDArray[np.int64]) -> list[str]:
        return [names[row] for row in rows]

    def divided(rows: NDArray[np.int64]) -> bool:
        return len(set(parts[rows].tolist()) - {""}) > 1

    counts = {
        part or "unused": np.bincount(listing.labels[readable[parts[readable] == part]], minlength=n_classes).tolist()
        for part in (*PART_NAMES, "")
    }

    return Report(
        name=listing.name,
        images=len(listing),
        counts={
            name: {part: of[label] for part, of in counts.items()} for label, name in enumerate(listing.class_names)
        },
        sizes=_sizes(facts.sizes[readable]),
        unreadable=[(names[row], str(facts.errors[row])) for row in np.flatnonzero(facts.errors != "")],
        exact=[named(rows) for rows in copies],
        near=[named(pair) for pair in alike],
        across=[named(rows) for rows in [*copies, *alike] if divided(rows)],
        conflicts=[named(rows) for rows in copies if len(set(listing.labels[rows].tolist())) > 1],
        constant=named(readable[facts.constant[readable]]),
        tiny=named(readable[facts.sizes[readable].min(axis=1) < TINY]),
        narrow=named(_narrow(facts, readable)),
        notes=list(listing.notes),
    )


def print_check(report: Report) -> None:
    """Print the report on standard output. Names from the data are quoted and not interpreted as markup."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False, emoji=False)
    part_names = [part for part in (*PART_NAMES, "unused") if any(parts[part] for parts in report.counts.values())]
    console.print(f"{report.name}: {report.images:,} images, {len(report.counts)} classes", style="bold")
    table = Table(header_style="bold")
    table.add_column("class")
    for part in part_names:
        table.add_column(part, justify="right")
    for name, parts in islice(report.counts.items(), _SHOWN):
        table.add_row(shown(name), *(f"{parts[part]:,}" for part in part_names))
    console.print(table)
    if len(report.counts) > _SHOWN:
        console.print(_more(len(report.counts) - _SHOWN, "classes"))
    for what, value in report.sizes.items():
        text = f"{value:,}" if isinstance(value, int) else "smallest {}, median {}, largest {}".format(*value)
        console.print(f"{what}: {text}")
    near_title = f"near duplicates (16 x 16 thumbnails correlated {LEAST_CORRELATION:g} or more)"
    _print_list(console, "unreadable files, left out", [f"{shown(name)}: {why}" for name, why in report.unreadable])
    _print_list(console, "exact duplicates", [_joined(names) for names in report.exact])
    _print_list(console, near_title, [_joined(names) for names in report.near])
    _print_list(console, "duplicates across parts, exact or near", [_joined(names) for names in report.across])
    _print_list(console, "exact duplicates with different labels", [_joined(names) for names in report.conflicts])
    _print_list(console, "constant images", list(map(shown, report.constant)))
    _print_list(console, f"images under {TINY} pixels", list(map(shown, report.tiny)))
    _print_list(console, "images whose values span less than a quarter of their range", list(map(shown, report.narrow)))
    _print_list(console, "warnings", report.warnings())


def _narrow(facts: Facts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    low, high = facts.values[rows].astype(np.int32).T
    together = len(rows) and high.max() - low.min() < NARROW
    narrow: NDArray[np.bool_] = (facts.deep[rows] & (high - low < NARROW)) | together
    return rows[narrow]


def _print_list(console: Console, title: str, lines: Sequence[str]) -> None:
    console.print(f"{title}: {len(lines) or 'none'}", style="bold" if lines else None)
    for line in lines[:_SHOWN]:
        console.print(f"  {line}", soft_wrap=True)
    if len(lines) > _SHOWN:
        console.print(f"  {_more(len(lines) - _SHOWN)}")


def _more(n: int, what: str = "") -> str:
    return f"and {n:,} more {what}".rstrip() + "; --json lists all"


def _sizes(sizes: NDArray[np.int32]) -> dict[str, list[int] | int]:
    if len(sizes) == 0:
        return {}
    low, high, middle = sizes.min(axis=0), sizes.max(axis=0), np.median(sizes, axis=0)
    found: dict[str, list[int] | int] = {
        what: [int(low[side]), int(middle[side]), int(high[side])] for side, what in enumerate(("width", "height"))
    }
    return found | {"different sizes": len(np.unique(sizes, axis=0))}


def _reasons(unreadable: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{shown(name)} ({why})" for name, why in unreadable)


def _joined(names: Sequence[str]) -> str:
    return examples(names, 6)


def _first(groups: Sequence[Sequence[str]]) -> str:
    return f"{' = '.join(map(shown, groups[0][:3]))}{' and others' if len(groups) > 1 else ''}" if groups else ""
