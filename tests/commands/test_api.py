"""The harness from Python: what `import harness` gives."""

import asyncio
import doctest
import functools
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness import api, run
from harness.core.errors import SpecError
from harness.core.results import TrialResult
from harness.core.spec import DatasetSpec
from harness.strategy_search import worker
from harness.strategy_search.worker import run_trial
from tests.conftest import ROOT
from tests.helpers.drawn_shapes import write_shapes

METHODS = [member for name, member in vars(harness.Study).items() if not name.startswith("_")]

SMALL: dict[str, Any] = {
    "study": "tiny.toml", "name": "photos", "train_size": 48, "validation_size": 24, "test_size": 12, "epochs": 1,
}  # fmt: skip


@pytest.fixture
def small(tiny_vgg16: None, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `harness.search` run at most two small trials on the tiny network, and confirm one finalist twice."""
    text = study_file.read_text().replace("[search]", '[search]\nstrategies = ["feature_extraction"]')
    study_file.write_text(text.replace("[baselines]", '[baselines]\nnames = ["majority"]').replace("4096", "16"))
    search, confirm = harness.search, harness.Study.confirm

    @functools.wraps(search)
    def small_search(data: Any = None, *, trials: int = 2, **given: Any) -> harness.Study:
        return search(data, trials=min(trials, 2), **{**SMALL, **given})

    monkeypatch.setattr(harness, "search", small_search)
    monkeypatch.setattr(harness.Study, "confirm", functools.partialmethod(confirm, finalists=1, seeds=2))


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys, harness\n"
        "assert harness.__version__\n"
        "loaded = {'numpy', 'pandas', 'sqlalchemy', 'optuna', 'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert set(harness.__all__) <= set(dir(harness))\n"
        "harness.search, harness.load, harness.Study, harness.HarnessError\n"
        "loaded = {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    python(code)


def test_no_module_hides_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(harness.__path__)}
    for name in modules & set(harness.__all__):
        import_module(f"harness.{name}")
        assert not isinstance(getattr(harness, name), ModuleType), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'advice'"):
        _ = harness.advice  # type: ignore[attr-defined]


def test_every_override_of_the_command_is_a_keyword() -> None:
    keywords = set(inspect.signature(harness.search).parameters)
    assert {"pruning" if key == "pruning.enabled" else key.rpartition(".")[2] for key in run.OVERRIDES} <= keywords


def test_every_public_name_has_an_example() -> None:
    for one in [harness, *(getattr(harness, name) for name in harness.__all__), *METHODS]:
        assert doctest.DocTestParser().get_examples(one.__doc__ or ""), one


@pytest.mark.usefixtures("pages")
@pytest.mark.large  # a search, a confirmation and an export
def test_the_readme_and_the_examples(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All examples in one study: the README's first."""
    write_shapes(tmp_path / "photos", 90)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = readme.partition("```python\n")[2].partition("```")[0]
    assert "harness.search(" in code
    found: dict[str, Any] = {"harness": harness}
    exec(code, found)
    study = found["study"]
    assert len(study.trials) == 2 and study.best["val_accuracy"] == study.trials["val_accuracy"].max()
    assert study.best["label"] and study.best.name == f"trial {study.best['number']}"
    assert list(study.front["val_accuracy"]) == sorted(study.front["val_accuracy"])
    assert list(study.baselines["name"]) == ["majority"]
    assert study.confirmed is not None and "finalist" in study.confirmed["roles"][0]
    assert study.confirmed["test_accuracy"].between(study.confirmed["low"], study.confirmed["high"]).all()
    assert Path("model/model.keras").is_file() and Path("page.html").read_text().startswith("<!doctype html>")
    assert repr(study).startswith("Study 'photos', 2 of 2 trials, in sqlite:///results/harness.db\n")
    shown = study._repr_html_()
    assert "<iframe srcdoc=" in shown and 'sandbox="allow-scripts"' in shown and "Study &#x27;photos&#x27;" in shown
    assert "2 of 2 done" in capsys.readouterr().err
    with harness.load("photos")._store().engine.connect() as connection:
        (command,) = connection.exec_driver_sql("select command from harness_session limit 1").one()
    assert command.startswith("harness.search(name='photos', trials=2, ")
    for one in (harness, harness.search, harness.load, harness.HarnessError, harness.Study, *METHODS):
        for example in doctest.DocTestParser().get_examples(one.__doc__ or ""):
            source = example.source.replace("confirm(finalists=1, seeds=2)", "confirm(reopen=True)")
            source = source.replace("study.confirm();", "study.confirm(reopen=True);")
            exec(source.replace('export("model"', 'export("model", overwrite=True'), found)


def test_a_call_that_was_interrupted_continues(
    small: None, digits: DatasetSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a running event loop, as in a notebook; without progress."""
    calls = iter([None, KeyboardInterrupt, None])

    def interrupted(*given: Any, **more: Any) -> TrialResult:
        if (error := next(calls)) is not None:
            raise error
        return run_trial(*given, **more)

    monkeypatch.setattr(worker, "run_trial", interrupted)

    async def search() -> harness.Study:
        return harness.search(name="tiny", quiet=True)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(search())
    assert len(harness.load("tiny").trials) == 1
    study = asyncio.run(search())
    assert len(study.trials) == 2 and not Path("results/harness.db-wal").exists()
    assert all(line.startswith("WARNING: ") for line in capsys.readouterr().err.splitlines())


def test_arrays_are_searched_and_found_again(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "run_trial", lambda *_, **__: TrialResult("complete", 1e9, 1e9, 0.5))
    draws = np.random.default_rng(0)
    images, labels = draws.integers(0, 256, (120, 12, 12), dtype=np.uint8), ["ab"[row % 2] for row in range(120)]
    first = harness.search((images, labels), trials=1)
    again = harness.search((images, labels), trials=2)
    assert len(first.trials) == len(again.trials) == 2 and again.name == "photos"
    with pytest.raises(harness.HarnessError, match="formats h5: give any of keras, "):
        first.export("model", formats="h5")
    with pytest.raises(harness.HarnessError, match="not those that study 'photos' was begun"):
        harness.search((images[::-1], labels))


def test_trackers_are_checked_before_the_search_and_written_after_it(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    monkeypatch.setattr(worker, "run_trial", lambda *_, **__: TrialResult("complete", 1e9, 1e9, 0.5))
    asked: list[str] = []
    monkeypatch.setattr("dashboards.mlflow_runs.check_mlflow", asked.append)
    monkeypatch.setattr("dashboards.mlflow_runs.write_mlflow", lambda _, study, uri: asked.append(f"{study} to {uri}"))
    with pytest.raises(harness.HarnessError, match=r"nothing can be written to tiny\.toml .*: choose another folder"):
        harness.search(mlflow="there", tensorboard="tiny.toml")
    assert asked == ["there"] and not Path("results").exists()
    study = harness.search(trials=1, mlflow="there", tensorboard="runs", quiet=True)
    assert asked == ["there", "there", "photos to there"] and len(study.trials) == 1
    assert {folder.name for folder in Path("runs/photos").glob("trial *")} == {"trial 0"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no study given: add study=NAME"),
        ({"study": "mnist", "trials": 0}, "trials=0: Input should be greater than or equal to 1"),
        ({"study": "mnist", "image_size": 31}, "image_size: give sizes of 32 to 512 pixels, but got 31"),
        ({"study": "mnist", "image_size": "16"}, "image_size: give sizes of 32 to 512 pixels, but got 16"),
        ({"study": "mnist", "image_size": np.array([16, 32])}, "image_size: give sizes of 32 to 512 pixels, but got"),
        ({"study": "mnist", "image_size": np.int64(16)}, "image_size: give sizes of 32 to 512 pixels, but got 16"),
        ({"study": "mnist", "image_size": []}, "image_size=[]: Tuple should have at least 1 item"),
        ({"study": "mnist", "seed": -1}, "seed=-1: Input should be greater than or equal to 0"),
        ({"study": "mnist", "class_weights": "balanced"}, "class_weights='balanced': Input should be a valid boolean"),
        ({"study": "mnist", "pruning": "never"}, "pruning='never': Input should be a valid boolean"),
        ({"study": "mnist", "weights": "vgg16.h5"}, "weights='vgg16.h5': give files by backbone, such as {'vgg16': "),
        ({"study": "mnist", "weights": {"vgg16": ""}}, "a path is empty: give one"),
        ({"study": "mnist", "storage": Path("x.db")}, "storage='x.db': give a URL as text, such as 'sqlite:///x.db'"),
        ({"study": "mnist", "page": "."}, "page . is a folder: give the name of the page to write in it"),
        ({"study": "mnist", "workers": 0}, "workers=0: give 1 or more"),
        ({"study": "mnist", "weights": {"vgg17": "x"}}, "vgg17"),
        ({"study": "mnist", "tensorboard": ""}, "a path is empty: give one, or . for this folder"),
        ({"data": "nowhere"}, "there is no file or folder 'nowhere'"),
        ({"data": pd.DataFrame({"filename": []})}, "the DataFrame has no column 'label'"),
    ],
)
def test_a_user_error_is_the_commands_sentence_with_keywords(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(harness.HarnessError) as raised:
        harness.search(**given)
    assert message in str(raised.value) and "Undefined" not in str(raised.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("choose another with --out and --storage", "choose another with folder= and storage="),
        ("--out results is a folder", "folder results is a folder"),
        ("add --overwrite to replace it", "add overwrite=True to replace it"),
        ("--time-limit 15m: too long (--no-pruning)", "time_limit=15m: too long (pruning=False)"),
        ("give --data PATH. `harness run --data X` does", "give data=PATH. `harness run --data X` does"),
    ],
)
def test_options_in_messages_become_keywords(message: str, expected: str) -> None:
    with pytest.raises(SpecError) as raised, api._naming_keywords("folder"):
        raise SpecError(message)
    assert str(raised.value) == expected


def test_a_study_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(harness.HarnessError, match=r"results/harness\.db"):
        harness.load("photos")
    assert not any(tmp_path.iterdir())


def test_the_errors_are_those_of_the_commands() -> None:
    assert issubclass(SpecError, harness.HarnessError)
