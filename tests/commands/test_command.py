"""What all commands share: threads, scripts, options named as they were typed, output folders."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import __version__, command, export, predict, run, studies
from harness.__main__ import COMMANDS
from harness.__main__ import main as console
from harness.core.errors import StorageError
from harness.core.paths import DEFAULT_STORAGE
from harness.data import __main__ as data
from harness.storage.store import Store
from tests.conftest import ROOT


def test_a_command_runs_in_a_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    Store(f"sqlite:///{tmp_path}/harness.db")
    arguments = ["list", "--storage", f"sqlite:///{tmp_path}/harness.db"]
    thread = threading.Thread(target=lambda: codes.append(studies.main(arguments)))
    thread.start()
    thread.join()
    assert codes == [0] and "study" in capsys.readouterr().out


def test_a_script_without_a_main_guard_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom harness import run\nsys.exit(run.main(['--study', 'mnist', '--workers', '2']))\n"
    )
    outcome = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 2
    assert outcome.stderr == (
        f"error: --workers 2 starts processes that import {script} and would run all of it again: put what it does "
        "under `if __name__ == '__main__':`\n"
    )
    assert list(tmp_path.iterdir()) == [script]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "--trials 0: Input should be greater than or equal to 1"),
        (["--image-size", "31"], "--image-size: give sizes of 32 to 512 pixels, but got 31"),
        (["--time-limit", "inf"], "--time-limit: 'inf' is no time"),
        (["--seed", "-1"], "--seed -1: Input should be greater than or equal to 0"),
        (["--name", ""], "--name '': String should have at least 1 character"),
        (
            ["--trials", "0", "--epochs", "0"],
            "--trials 0: Input should be greater than or equal to 1; --epochs 0: Input",
        ),
        (["--train-size", "5000"], "--train-size 5000 + data.validation_size 48 asked of"),
        (["--train-size", "150", "--validation-size", "99"], "--train-size 150 + --validation-size 99 asked of"),
        (["--test-size", "99"], "--test-size 99, but digits has 60 test images"),
    ],
)
def test_an_option_is_named_as_it_was_typed(
    study_file: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run.main(["--study", str(study_file), "--dry-run", *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("given", [["--study", "mnist", "--out", ""], ["--data", "", "--out", "x"]])
def test_an_empty_path_is_not_the_current_folder(capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    try:
        code = run.main([*given, "--dry-run"])
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code == 2 and "empty: give" in capsys.readouterr().err.splitlines()[-1]


def test_a_current_folder_that_was_deleted_is_one_line(tmp_path: Path) -> None:
    lines = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
        "from harness import studies; sys.exit(studies.main(['list']))",
    )
    outcome = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (outcome.returncode, outcome.stderr) == (
        2,
        "error: the current folder has been deleted: change to another\n",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--trials", "1e3"], "--trials: give a whole number, not '1e3'"),
        (["--max-trial-cost", "1,5"], "--max-trial-cost: give a number, not '1,5'"),
        (["--metric", "f1"], "--metric: invalid choice: 'f1' (choose from "),
        (["--trial", "5", "--tirals", "5"], "unrecognized arguments: --tirals 5"),
        (["--out"], "--out: expected one argument"),
        (["--time-limt\n", "5"], "unrecognized arguments: --time-limt 5"),
    ],
)
def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str], given: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        run.main(["--study", "mnist", *given])
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1
    assert error.endswith(". `python -m harness.run --help` lists the options\n")


LONG = "x" * 300


@pytest.mark.parametrize(
    ("main", "given"),
    [
        (run.main, ["--study", "mnist", "--dry-run", "--out", LONG]),
        (studies.main, ["list", "--storage", f"sqlite:///{LONG}"]),
        (studies.main, ["import", LONG]),
        (data.main, ["check", LONG]),
        (predict.main, [LONG, LONG]),
        (export.main, ["--study", "mnist", "--out", f"{LONG}/model"]),
    ],
)
def test_a_path_that_is_too_long_is_one_line(
    main: Callable[[list[str]], int], given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(given)
    except SystemExit as ended:  # argparse
        code = ended.code
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and "error: " in error and "xxx" in error


def test_a_key_of_the_file_is_named_with_the_file(study_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_file.write_text(study_file.read_text().replace("epochs = 2", "epochs = 0"))
    assert run.main(["--study", str(study_file), "--trials", "3"]) == 2
    assert capsys.readouterr().err.startswith("error: tiny.toml: budget.epochs = 0: Input should be")


def test_a_read_only_folder_names_the_options_that_move_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").touch()  # a folder would be writable for root
    page = Path("results/page.html")
    with pytest.raises(StorageError, match=r"to the folder results \(.*: choose another with --out and --storage"):
        command.prepare_output(page, DEFAULT_STORAGE, {})
    with pytest.raises(StorageError, match=r"to the folder results \(.*: choose another with --storage"):
        command.prepare_output(Path("page.html"), DEFAULT_STORAGE, {})
    with pytest.raises(StorageError, match=r"to the folder results \(.*: choose another with --out$"):
        command.prepare_output(page, "sqlite:///harness.db", {})


def test_a_log_that_cannot_be_written_is_noticed_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "page.log"
    log.touch()
    opened = Path.open

    def refused(self: Path, mode: str = "r", **options: object) -> object:
        if self == log and "a" in mode:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(StorageError, match=r"Permission denied: .*page\.log.*: choose another with --out"):
        command.prepare_output(tmp_path / "page.html", "sqlite:///harness.db", {".log": "log"})


@pytest.mark.parametrize(("encoding", "printed"), [("utf-8", '"é"'), ("latin-1", r'"\u00e9"'), ("ascii", r'"\u00e9"')])
def test_json_stays_json_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str, printed: str) -> None:
    file = Path(os.devnull)
    with file.open("w", encoding=encoding) as stream:
        lines: list[str] = []
        monkeypatch.setattr(stream, "write", lines.append)
        monkeypatch.setattr(sys, "stdout", stream)
        command.print_json("é")
    assert "".join(lines) == f"{printed}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        console([name, "--version"])
    assert capsys.readouterr().out == f"harness {__version__}\n"


def test_tables_keep_to_the_terminal_and_have_no_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "70"}.items():
        monkeypatch.setenv(name, value)
    assert run.main(["--study", "mnist", "--dry-run"]) == 0
    table = capsys.readouterr().out.partition("Predicted cost")[2]
    plain = re.sub(r"\x1b\[[\d;]*m", "", table)
    assert all(len(line) <= 70 for line in plain.splitlines())
    assert not re.search(r"\x1b\[(?:\d+;)*[349]\d", table)
