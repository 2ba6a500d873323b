"""What searches of the default study confirm, today's and those of before."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import spaces
from benchmarks.record import rows_of
from tests.conftest import ROOT


def row(name: str, seed: int, search: str, test: float) -> dict[str, Any]:
    return {"set": name, "seed": seed, "search": search, "test": test}


RUNS = [
    row("ants", 0, "before", 0.90), row("ants", 1, "before", 0.80), row("bees", 0, "before", 0.50),
    row("ants", 0, "shipped", 0.92), row("ants", 1, "shipped", 0.82), row("bees", 0, "shipped", 0.55),
    row("bees", 1, "shipped", 0.65),
]  # fmt: skip


def test_differences_are_of_the_same_set_and_seed() -> None:
    found = spaces.differences(RUNS, "shipped", "before")
    assert {name: pytest.approx(values) for name, values in found.items()} == {"ants": [2.0, 2.0], "bees": [5.0]}


def test_the_table_has_the_mean_of_each_search_and_the_difference_over_sets() -> None:
    table = spaces.table(RUNS)
    assert "| ants | 0.850 (0.800 to 0.900, 2) | 0.870 (0.820 to 0.920, 2) |" in table
    assert "| bees | 0.500 (0.500 to 0.500, 1) | 0.600 (0.550 to 0.650, 2) |" in table
    assert "shipped minus before: +3.5 points (-15.6 to +22.6) on the mean over 2 sets: ants +2.0, bees +5.0" in table


def test_searches_differ_in_their_strategies_alone() -> None:
    shipped, without = (tomllib.loads(spaces.study_text(spaces.HERE, name)) for name in spaces.SEARCHES[:0:-1])
    assert shipped["search"]["strategies"] == [*without["search"]["strategies"], "two_phase"]
    del shipped["search"]["strategies"], without["search"]["strategies"]
    assert shipped == without and shipped["baselines"]["names"] == ["majority"]


def test_a_study_that_has_changed_is_not_searched(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "images.toml").write_text("[baselines]\n")
    with pytest.raises(ValueError, match="0 times in the study, not once"):
        spaces.study_text(tmp_path, "shipped")


def test_the_document_holds_what_was_recorded() -> None:
    text = (ROOT / "docs" / "notes" / "refinements.md").read_text(encoding="utf-8")
    assert spaces.table(rows_of(spaces.ROWS)) in text
