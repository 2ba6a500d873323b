"""The table of docs/benchmarks.md says what the results say."""

import pytest

from benchmarks import table


def test_the_committed_table_is_made_from_the_committed_results() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.placed(page, table.table()), "python -m benchmarks.table"


def test_a_changed_figure_changes_the_table() -> None:
    run = {"seconds": {"trial": 2.0}, "megabytes": 1000.0}
    (row,) = table.scaling({"of": "size", "points": {"224": [run, run | {"seconds": {"trial": 3.0}}]}})
    assert row == ("a trial on 64 images of 224 px", "trial 2.5 s; 1,000 MB at the peak", "2 runs", "2.0 to 3.0")


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        table.placed("no table here", "")
