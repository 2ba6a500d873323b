"""No password in a database URL is printed or recorded, in any position and by any option."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import make_url

from benchmarks import record
from harness import atlas, confirm, dashboard, export, run, studies, worker
from harness.arguments import recorded_command, shown_arguments
from harness.core.errors import SpecError, StorageError
from harness.storage.database import parse_url, shown
from harness.storage.store import Store
from harness.workers import session

SECRET = "s3cret"
FORMS = {
    "postgresql://u:s3cret@h/db": "postgresql://u:***@h/db",
    "postgresql://u:s3cret@h:5432/db?sslmode=require": "postgresql://u:***@h:5432/db?sslmode=require",
    "postgresql+psycopg://u:s3cret@[::1]:5432/db": "postgresql+psycopg://u:***@[::1]:5432/db",
    "postgresql://u:s3cret==@h/db": "postgresql://u:***@h/db",
    "postgresql://u:s3cret%40h%3A1@h/db": "postgresql://u:***@h/db",
    "postgresql://u:a/s3cret@h/db": "postgresql://u:***@h/db",
    "postgresql://:s3cret@h/db": "postgresql://:***@h/db",
    "postgresql://s3cret:s3cret@h/db": "postgresql://***:***@h/db",
    "postgresql:///db?host=/run/pg&user=u&password=s3cret": "postgresql:///db?host=%2Frun%2Fpg&password=***&user=u",
    "postgresql://u@h/db?password=s3cret&password=s3cret2": "postgresql://u@h/db?password=***&password=***",
    "postgresql://u@h/db?sslmode=require&sslpassword=s3cret": "postgresql://u@h/db?sslmode=require&sslpassword=***",
    "postgresql://u@h/db?passfile=/keys/.pgpass": "postgresql://u@h/db?passfile=%2Fkeys%2F.pgpass",
    "postgresql://u:s3cret@h/db?connect_timeout=5": "postgresql://u:***@h/db?connect_timeout=5",
    # Typing errors and unexpected options.
    "postgresql://u@h/db?pasword=s3cret": "postgresql://u@h/db?***=***",
    "postgresql://u@h/db?user=u;password=s3cret": "postgresql://u@h/db?user=***",
    "postgresql://u@h/db&password=s3cret": "postgresql://u@h/***",
    "postgresql://u@h/db?conninfo=password%3Ds3cret": "postgresql://u@h/db?***=***",
    "postgresql://u%3As3cret@h/db": "postgresql://***@h/db",
    "postgresql:///u:s3cret@h/db": "postgresql:///***",
    "mysql://u:s3cret@h/db": "mysql://u:***@h/db",
    "postgresql://u:p@s3cret@h/db": "***",
    "postgresql://u:p@s3cret/b@h/db": "***",
    "postgresql://u:p@s3cret?b@h/db": "***",
    "postgresql://u:s3cret/db": "***",
    "postgresql:u:s3cret@h/db": "***",
    "host=h user=u password=s3cret": "***",
    "s3cret": "***",
    # A file name has nothing to hide.
    "sqlite:///results/harness.db": "sqlite:///results/harness.db",
    "sqlite:////data/my é@home = 50%.db": "sqlite:////data/my é@home = 50%.db",
    "sqlite+pysqlcipher://:s3cret@/study.db": "sqlite+pysqlcipher://:***@/study.db",
    "sqlite:///study.db?key=s3cret&timeout=5": "sqlite:///study.db?***=***&timeout=5",
}


@pytest.mark.parametrize(("url", "expected"), FORMS.items())
def test_each_form_of_a_url(url: str, expected: str) -> None:
    assert shown(url) == expected
    for option in ("--storage", "--stor"):
        assert shown_arguments([option, url, "--trials", "3"]) == [option, expected, "--trials", "3"]
        assert shown_arguments([f"{option}={url}", "3"]) == [f"{option}={expected}", "3"]
    if "://" in url:
        assert SECRET not in recorded_command("run", ["--storag2", url, f"--url={url}", url])
    assert SECRET not in error_of(lambda: parse_url(url))


def error_of(call: Callable[[], object]) -> str:
    """Return the message of the StorageError that the call raises, or ""."""
    try:
        call()
    except StorageError as error:
        return str(error)
    return ""


PASSWORDS = st.text(min_size=6).map(lambda text: "s3" + text)


@given(
    PASSWORDS,
    st.sampled_from(
        [
            "{q}:{p}@h/db",
            "u:{p}@h:1/db?sslmode=require",
            "/db?host=/run&password={p}",
            "u@h/db?sslpassword={p}",
            "u@h/db?sslkey=k&passwort={p}&user=u",
        ]
    ),
    st.booleans(),
)
def test_a_password_of_any_characters_in_any_position(password: str, form: str, unquoted: bool) -> None:
    assume(not any(password in text for text in (form, "postgresql")))
    url = "postgresql://" + form.format(p=password if unquoted else quote(password, safe=""), q="u")
    argv = ["--study", "mnist", f"--storage={url}", "--storage", url]
    for text in (shown(url), " ".join(shown_arguments(argv)), recorded_command("run", argv)):
        assert password not in text and quote(password, safe="") not in text
        # No piece may show either, as after an unquoted @.
        for piece in re.split(r"[@:/?#&;=%\s]", password):
            assert len(piece) < 6 or piece not in text


def test_an_ambiguous_url_is_refused_with_the_fix() -> None:
    with pytest.raises(StorageError, match="write @ in a name or a password as %40") as caught:
        parse_url("postgresql://u:p@s3cret@h/db")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [(psycopg.OperationalError, "does not answer"), (psycopg.ProgrammingError, "correct the options after the")],
)
def test_a_driver_whose_error_repeats_the_url(monkeypatch: pytest.MonkeyPatch, error: Any, message: str) -> None:
    def connect(*, context: Any, **given: Any) -> None:
        raise error(f"no: {psycopg.conninfo.make_conninfo(**given)}, {full}")

    url = "postgresql://u:s3cret'%40x@h/db?sslpassword=s3cret-too"
    full = make_url(url).render_as_string(hide_password=False)
    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(StorageError, match=message) as caught:
        Store(url)
    assert SECRET not in str(caught.value) and "h/db" in str(caught.value)


def test_an_unknown_driver_option_is_one_line() -> None:
    with pytest.raises(StorageError, match="correct the options after the") as caught:
        Store("postgresql://u@127.0.0.1/db?pasword=s3cret")
    assert SECRET not in str(caught.value)


COMMANDS: list[tuple[ModuleType, list[str]]] = [
    (run, ["--study", "mnist"]),
    (worker, ["--study", "mnist"]),
    (confirm, ["--study", "mnist"]),
    (studies, ["list"]),
    (export, ["--study", "mnist", "--out", "model"]),
    (atlas, ["--data", "mnist"]),
    (dashboard, ["--study", "mnist"]),
]


@pytest.mark.parametrize(("module", "given"), COMMANDS)
@pytest.mark.parametrize("option", ["--storage", "--sto=", "--storag2", "--storag2="])
def test_no_command_prints_a_password(
    module: ModuleType,
    given: list[str],
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "draw", refuse)
    monkeypatch.setattr("harness.workers.atlas_cells.draw", refuse)
    url = "postgresql://u:s3cret=@127.0.0.1:1/db?sslmode=disable&password=s3cret"
    arguments = [*given, f"{option}{url}"] if option.endswith("=") else [*given, option, url]
    with caplog.at_level(logging.DEBUG):
        try:
            code = module.main(arguments)
        except SystemExit as ended:  # argparse
            code = ended.code
    output = capfd.readouterr()
    assert code == 2 and "error" in output.err
    for text in (output.out, output.err, caplog.text, *(f.read_text() for f in tmp_path.rglob("*.log"))):
        assert SECRET not in text


def refuse(*_: Any) -> None:
    raise SpecError("no images in this test")


def test_resuming_an_unknown_study_shows_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/study.db")
    spec = type("Spec", (), {"name": "absent"})()
    request = session.Request(spec, None, "postgresql://u:s3cret@h/db", tmp_path / "p.html", must_exist=True)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"no study 'absent' in postgresql://u:\*\*\*@h/db to resume"):
        session._open(request, store, None, None)  # type: ignore[arg-type]
    store.engine.dispose()


def test_a_benchmark_records_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks/prediction.py", "--storage", "postgresql://u:s3cret@h/db"])
    assert record.machine()["command"] == "python -m benchmarks.prediction --storage postgresql://u:***@h/db"
