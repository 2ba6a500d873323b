"""Time limits: what a text means, and what is left."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.clock import NO_LIMIT, TimeLimit, seconds_of
from harness.core.errors import SpecError
from harness.core.spec import StudySpec


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("900", 900), ("90s", 90), ("15m", 900), ("1e-6", 1e-6), ("15 M", 900), ("1.5h", 5400), (" .5m ", 30)],
)
def test_seconds_of(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "m", "-5", "15 minutes", "1h30m", "nan", "inf", "15d"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: give seconds"):
        seconds_of(text)


@given(st.text(max_size=8))
def test_any_text_is_a_time_or_a_clear_error(text: str) -> None:
    try:
        assert 0 < seconds_of(text) < math.inf
    except ValueError as error:
        assert str(error).startswith(repr(text))  # noqa: PT017


def test_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    limit = TimeLimit.start(60)
    monkeypatch.setattr("time.monotonic", lambda: 130.0)
    assert (limit.seconds, limit.left) == (60, 30)
    assert TimeLimit.start(None) is NO_LIMIT and NO_LIMIT.left == math.inf


def test_a_study_file_takes_them_too() -> None:
    assert StudySpec.load("mnist", {"budget.time_limit": "15m"})[0].budget.time_limit == 900
    with pytest.raises(SpecError, match=r"budget\.time_limit: '15x' is no time"):
        StudySpec.load("mnist", {"budget.time_limit": "15x"})
