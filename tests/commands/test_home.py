"""`~` is the home folder where no shell has replaced it: in ``--out=~/page.html``, in a URL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import atlas, confirm, dashboard, export, predict, run, studies, worker
from harness.arguments import Parser
from harness.data import __main__ as data

GIVEN: list[tuple[Callable[[], Parser], list[str]]] = [
    (run._parser, ["--study=~/x", "--data=~/x", "--out=~/x", "--weights=~/x", "--storage=sqlite:///~/x"]),
    (worker._parser, ["--study=a", "--data=~/x", "--weights=~/x", "--storage=sqlite:///~/x"]),
    (confirm._parser, ["--study=a", "--data=~/x", "--out=~/x", "--weights=~/x", "--storage=sqlite:///~/x"]),
    (export._parser, ["--spec=~/x", "--data=~/x", "--out=~/x", "--weights=~/x", "--storage=sqlite:///~/x"]),
    (atlas._parser, ["--data=~/x", "--rows=~/x", "--out=~/x", "--weights=~/x", "--storage=sqlite:///~/x"]),
    (dashboard._parser, ["--study=a", "--out=~/x", "--png=~/x", "--pdf=~/x", "--storage=sqlite:///~/x"]),
    (predict._parser, ["~/x", "~/x", "--out=~/x"]),
    (studies._parser, ["export", "--storage=sqlite:///~/x", "a", "~/x"]),
    (studies._parser, ["import", "--storage=sqlite:///~/x", "~/x"]),
    (data._parser, ["check", "~/x"]),
]


@pytest.mark.parametrize(("parser", "given"), GIVEN)
def test_every_option_that_is_a_path(
    parser: Callable[[], Parser], given: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    parsed = vars(parser().parse_args(given))
    texts = [text for value in parsed.values() for text in texts_of(value)]
    assert len([text for text in texts if text.endswith(f"{tmp_path}/x")]) == sum("~/x" in word for word in given)
    assert not any("~" in text for text in texts)


def texts_of(value: Any) -> list[str]:
    values = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [value]
    return [str(one) for one in values if isinstance(one, str | Path)]
