"""Completion in a shell: what bash itself makes of the script."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import completion
from harness.__main__ import COMMANDS

pytest.importorskip("shtab")


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert completion.main(["bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "photos").mkdir()
    return tmp_path / "script"


def completed(script: Path, line: str) -> set[str]:
    """What bash offers after a line."""
    words = line.split(" ")
    find = f"source {script}; complete -p harness"
    defined = subprocess.run(["bash", "-c", find], capture_output=True, text=True, check=True).stdout.split()
    ask = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
        f"COMP_POINT={len(line)}; {defined[defined.index('-F') + 1]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", ask], cwd=script.parent, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_bash_completes_commands_options_choices_and_files(script: Path) -> None:
    assert completed(script, "harness r") == {"run"}
    assert {"export", "errors"} == completed(script, "harness e") <= set(COMMANDS)
    assert completed(script, "harness run --time") == {"--time-limit"}
    assert completed(script, "harness run --metric ba") == {"balanced_accuracy"}
    assert completed(script, "harness studies ex") == {"export"}
    assert completed(script, "harness run --data pho") == {"photos"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main([shell]) == 0
    assert "time-limit" in capsys.readouterr().out
