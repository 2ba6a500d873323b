"""What a command writes takes the place of nothing but what an earlier one wrote."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from dashboards import images
from dashboards.page import save
from harness import atlas, confirm, dashboard, export, predict, run
from harness.core.errors import StorageError
from harness.storage.outputs import check_output
from harness.storage.store import Store
from tests.helpers.synthetic import write_study

STORAGE = "sqlite:///results/harness.db"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    store = Store(f"sqlite:///{folder / 'harness.db'}")
    write_study(store, "mnist", trials=3)
    store.engine.dispose()
    return folder


@pytest.fixture
def store(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(results, "results")
    return Store(STORAGE)


def call(module: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert module.main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ") and output.err.count("\n") == 1 and output.out == ""
    return output.err


COMMANDS: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "run": (run, ("--study", "mnist")),
    "confirm": (confirm, ("--study", "mnist")),
    "atlas": (atlas, ("--data", "mnist")),
    "dashboard": (dashboard, ("--study", "mnist")),
}


@pytest.mark.parametrize("kind", ["page", "PDF", "PNG", "recommendation", "table of rows"])
def test_no_device_or_pipe_is_replaced(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match=f"--out: .*pipe is a device or a pipe, a {kind} is a file: give the name"):
        check_output(tmp_path / "pipe", kind)
    check_output(tmp_path / "pipe", "CSV of predictions")  # is opened
    with pytest.raises(StorageError, match="is a device or a pipe"):
        save("<html>", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "out", ["results/harness.db", "./results/../results/harness.db", "link.html", "hard.html", "results/harness.db-wal"]
)
def test_no_page_is_written_over_the_database(
    store: Store, capsys: pytest.CaptureFixture[str], command: str, out: str
) -> None:
    Path("link.html").symlink_to("results/harness.db")
    Path("hard.html").hardlink_to("results/harness.db")
    module, given = COMMANDS[command]
    error = call(module, capsys, *given, "--out", out)
    assert f"--out: {Path(out)} is the database sqlite:///results/harness.db: give another file" in error
    store.engine.dispose()
    with closing(sqlite3.connect("results/harness.db")) as connection:
        assert connection.execute("select count(*) from harness_trial").fetchone() == (3,)


@pytest.mark.parametrize("command", ["run", "atlas"])
def test_not_even_over_one_that_is_yet_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    module, given = COMMANDS[command]
    for storage, out in ((), "results/harness.db"), (("--storage", "sqlite:///x.html"), "x.html"):
        assert "is the database sqlite:///" in call(module, capsys, *given, *storage, "--out", out)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_beside_the_page_is_looked_at_too(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for command, name in ("run", "x.log"), ("confirm", "x.recommendation.toml"), ("atlas", "x.json"):
        module, given = COMMANDS[command]
        shutil.copy("results/harness.db", name)
        Store(f"sqlite:///{name}").engine.dispose()
        error = call(module, capsys, *given, "--storage", f"sqlite:///{name}", "--out", "x.html")
        assert f"{name} is the database" in error
    for command, name in ("run", "y.log"), ("atlas", "y.json"):
        module, given = COMMANDS[command]
        assert f"--out {name} is the name of the" in call(module, capsys, *given, "--out", name)
    Path("z.json").write_text('{"mine": 1}')
    assert "z.json exists and is not a table of rows" in call(atlas, capsys, "--data", "mnist", "--out", "z.html")
    Path("z.recommendation.toml").write_text("name = 'mine'")
    error = call(confirm, capsys, "--study", "mnist", "--out", "z.html")
    assert "z.recommendation.toml exists and is not a recommendation" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_no_page_is_written_over_what_is_no_page(
    store: Store, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    module, given = COMMANDS[command]
    for content in (b"SQLite format 3\0", b"my notes", b"\x89PNG\r\n\x1a\n", b"\xff\xfe", b"[data]\n", b"doctype html"):
        Path("taken").write_bytes(content)
        error = call(module, capsys, *given, "--out", "taken")
        assert "--out: taken exists and is not a page, it would be lost: give another name, or move it away" in error
        assert Path("taken").read_bytes() == content


@pytest.mark.parametrize("there", [None, "", "<!doctype html>\nold", "\ufeff\n <!DOCTYPE HTML><p>", "<html>old</html>"])
def test_a_page_takes_the_place_of_a_page(store: Store, there: str | None) -> None:
    page = Path("page.html")
    if there is not None:
        page.write_text(there, encoding="utf-8")
    assert dashboard.main(["--study", "mnist", "--out", str(page)]) == 0
    assert page.stat().st_size > 1_000_000


def test_whoever_saves_a_page(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("notes")
    with pytest.raises(StorageError, match="taken exists and is not a page"):
        save("<!doctype html>", taken)
    assert taken.read_text() == "notes"


def test_images_of_the_dashboard(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = ("--study", "mnist", "--out", "page.html", "--pdf")
    assert "--pdf: results/harness.db is the database" in call(dashboard, capsys, *given, "results/harness.db")
    Path("notes.pdf").write_text("notes")
    assert "--pdf: notes.pdf exists and is not a PDF" in call(dashboard, capsys, *given, "notes.pdf")
    assert not Path("page.html").exists()
    for what, name in ("--screenshot", "front.png"), ("--print-to-pdf", "page.pdf"):
        (tmp_path / name).write_text("notes")
        with pytest.raises(StorageError, match=f"{name} exists and is not a P"):
            images._print("no browser", "", what, tmp_path / name, [])
    for kind, begins in ("PDF", b"%PDF-1.4"), ("PNG", b"\x89PNG\r\n"):
        (tmp_path / "own").write_bytes(begins)
        check_output(tmp_path / "own", kind)


def test_predictions_and_exports(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.keras").write_bytes(b"PK")
    error = call(predict, capsys, "model.keras", "images", "--out", "model.keras")
    assert "--out: model.keras exists and is not a CSV of predictions" in error
    Path("said.csv").write_text("file,label,probability\n")
    assert "there is no image" in call(predict, capsys, "model.keras", "images", "--out", "said.csv")
    given = ("--study", "mnist", "--overwrite", "--out")
    assert "--out results/harness.db is a file" in call(export, capsys, *given, "results/harness.db")
    assert "--out results holds harness.db, which no export wrote" in call(export, capsys, *given, "results")
    Path("mine").mkdir()
    Path("mine/README.md").write_text("mine")
    assert "--out mine holds README.md, which no export wrote" in call(export, capsys, *given, "mine")
