"""`harness run`: whole runs of the tiny network, resuming, and invalid input."""

import json
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import run, studies
from harness.core import processes
from harness.core.errors import StorageError, WeightsError
from harness.core.results import Checkpoint, TrialResult
from harness.core.spec import DatasetSpec, StudySpec
from harness.core.strategy import Strategy
from harness.data import decoding
from harness.data.dataset import draw
from harness.storage.store import Store
from harness.strategy_search import worker
from harness.training.counts import OPERATIONS
from harness.training.problem import Problem
from harness.workers import session, work
from tests.conftest import Runs
from tests.helpers.exported import export
from tests.helpers.whole import copy_is_whole


@pytest.fixture(autouse=True)
def _tiny(request: pytest.FixtureRequest, tiny_vgg16: None, study_file: Path) -> None:
    """Use the tiny network. Only the whole run has all baselines and the recipes, whose heads are wide."""
    if request.node.name != "test_a_whole_run":
        text = study_file.read_text().replace("[baselines]", '[baselines]\nnames = ["majority"]')
        study_file.write_text(text.replace("[4, 4096]", "[4, 1024]"))


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip training; the more convolutions a trial would train, the better its accuracy."""

    def run_trial(strategy: Strategy, problem: Problem, *, on_checkpoint: Any, **_: Any) -> TrialResult:
        epochs = problem.spec.budget.epochs
        spent = problem.spent(strategy, epochs)
        flops, seconds = spent.train_flops, spent.rated_seconds
        accuracy = 0.9 - strategy.frozen / 100
        on_checkpoint((Checkpoint(epochs, flops, 1.0, 0.5, 0.5, accuracy, rated_seconds=seconds),))
        return TrialResult("complete", flops, flops, accuracy, rated_seconds=seconds, planned_seconds=seconds)

    monkeypatch.setattr(worker, "run_trial", run_trial)


def call(capsys: pytest.CaptureFixture[str], *arguments: str, study: str = "tiny.toml") -> tuple[int, str, str]:
    code = run.main(["--study", study, *arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def database(path: str = "results/harness.db") -> sqlite3.Connection:
    return sqlite3.connect(path)


@pytest.mark.usefixtures("pages")
def test_a_whole_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "--trials", "8")
    assert code == 0
    for part in ("feature_extraction", "freeze_first_k", "fine_tune_all", "from_scratch", "majority", "linear_probe"):
        assert part in out
    assert "Accuracy-versus-compute front" in out and "The advice" in out
    assert "python -m harness.dashboard --study tiny" in out and "optuna-dashboard sqlite:///results/harness.db" in out
    assert "8 of 8 done, 0 running" in err
    rows = database().execute(
        "select strategy, count(*), max(val_accuracy), sum(train_flops) from trial_summary group by 1"
    )
    assert {row[0]: row[1] > 0 for row in rows} == dict.fromkeys(
        ("feature_extraction", "freeze_first_k", "fine_tune_all", "from_scratch"), True
    )
    assert database().execute("select count(*) from trials where state in ('RUNNING', 'WAITING')").fetchone() == (0,)
    page = (tmp_path / "results" / "tiny.html").read_text()
    assert "plotly" in page and "tiny" in page
    assert "trial 0" in (tmp_path / "results" / "tiny.log").read_text()
    store = Store("sqlite:///results/harness.db")
    assert store.sessions.frame("tiny")["outcome"].tolist() == ["done"]
    study = store.studies.find("tiny")
    assert study is not None and study.advice["scenario"] == 2 and study.data["n_train"] == 96


@pytest.mark.usefixtures("untrained")
def test_a_folder_of_images_is_a_study_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: DatasetSpec
) -> None:
    def squares(paths: Sequence[Path], *arguments: Any, **keywords: Any) -> Any:
        assert not any("test" in path.parts for path in paths), "the search decoded images of the test set"
        return decoding.squares(paths, *arguments, **keywords)

    monkeypatch.setattr("harness.data.dataset.squares", squares)
    monkeypatch.setattr(work, "run_baseline", lambda *_, **__: TrialResult("complete", 0.0, 0.0, 0.3))
    monkeypatch.setattr(work, "measure_rates", lambda _: dict.fromkeys(OPERATIONS, 1e-9))
    export(digits.file, tmp_path / "my digits", "folders")
    (tmp_path / "my digits" / "train" / "a" / "words.png").write_text("these are words")
    (tmp_path / "my digits" / "train" / "b" / "copy.png").write_bytes(
        next((tmp_path / "my digits" / "train" / "b").iterdir()).read_bytes()
    )
    few = ("--trials", "2", "--epochs", "1", "--image-size", "32")
    assert run.main(["--data", "my digits", *few]) == 0
    err = capsys.readouterr().err
    assert "WARNING: my-digits: files that cannot be read, left out: 1 ('train/a/words.png'" in err
    assert "WARNING: my-digits: exact copies of other images: 1" in err
    store = Store("sqlite:///results/harness.db")
    study = store.studies.find("my-digits")
    assert study is not None and study.data["check"]["found"]["unreadable"] == 1
    assert (study.data["n_train"], study.data["n_validation"], study.data["n_test"]) == (145, 36, 60)
    assert len(store.trials.frame("my-digits")) == 2
    assert run.main(["--data", "my digits", *few]) == 0  # nothing to do, and no warning again
    assert "WARNING" not in capsys.readouterr().err
    assert studies.main(["split", "my-digits"]) == 0
    Path("again.csv").write_text(capsys.readouterr().out)
    assert run.main(["--data", "again.csv", *few]) == 0
    again = store.studies.find("again")
    assert store.studies.split("my-digits") == store.studies.split("again")
    assert again is not None and again.data["digest"] == study.data["digest"]
    (tmp_path / "my digits" / "train" / "a" / "words.png").unlink()
    next((tmp_path / "my digits" / "train" / "a").iterdir()).unlink()
    assert run.main(["--data", "my digits", *few, "--trials", "3"]) == 2
    assert "are not those that study 'my-digits' was begun with" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_the_settings_of_a_study_on_other_images(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, digits: DatasetSpec
) -> None:
    manifest = export(digits.file, tmp_path / "other", "manifest")
    assert call(capsys, "--data", str(manifest), "--trials", "1")[0] == 0
    study = Store("sqlite:///results/harness.db").studies.find("manifest_tiny")
    assert study is not None and study.data["n_train"] == 96 and study.spec["data"]["dataset"] == str(manifest)
    moved = manifest.parent.rename(tmp_path / "moved") / manifest.name
    assert call(capsys, "--data", str(moved), "--trials", "2")[0] == 0
    again = Store("sqlite:///results/harness.db").studies.find("manifest_tiny")
    assert again is not None and again.data["digest"] == study.data["digest"]
    assert again.spec["data"]["dataset"] == again.data["declared"]["file"] == str(moved)
    moved.write_text(moved.read_text().replace(",a,", ",other,"))
    code, _, err = call(capsys, "--data", str(moved), "--trials", "3")
    assert code == 2 and "are not those that study 'manifest_tiny' was begun with" in err


@pytest.mark.usefixtures("untrained")
def test_decisions_on_labels_are_part_of_a_study(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, digits: DatasetSpec
) -> None:
    manifest = export(digits.file, tmp_path / "own", "manifest")
    images = ["--data", str(manifest), "--name", "after", "--trials", "1"]
    spec, dataset = StudySpec.load("tiny.toml", {"data.dataset": str(manifest)})
    before = draw(dataset, spec.data, spec.seed).members()
    (first, label, digest), (second, its, _), *others = before["train"]
    other = "a" if label != "a" else "b"
    listed = [f"files/{Path(first).name},{label},{other}", f"files/{Path(second).name},{its},drop"]
    Path("fixed.csv").write_text("\n".join(["file,label,decision", *listed]))
    code, _, err = call(capsys, *images, "--relabel", "fixed.csv")
    assert code == 0 and "fixed.csv: 1 label changed, 1 image dropped" in err
    assert "decided with --relabel: 1 label changed, 1 image dropped, in training and validation set" in err
    after = Store("sqlite:///results/harness.db").studies.split("after")
    assert after["train"] == [(first, other, digest), *others]
    assert (after["validation"], after["test"]) == (before["validation"], before["test"])
    code, _, err = call(capsys, *images)
    assert code == 2 and "study 'after' was begun with other settings: --relabel was [{" in err
    Path("wrong.csv").write_text("file,label,decision\nfiles/none.png,a,drop\n")
    code, _, err = call(capsys, *images, "--relabel", "wrong.csv")
    assert code == 2 and "no image 'files/none.png'" in err and err.count("\n") == 1


@pytest.mark.usefixtures("untrained")
def test_running_again_adds_only_missing_trials(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--trials", "4")[0] == 0
    before = database().execute("select * from harness_trial").fetchall()
    assert call(capsys, "--trials", "4")[0] == 0  # nothing to do
    assert database().execute("select * from harness_trial").fetchall() == before
    assert call(capsys, "--trials", "6", "--resume")[0] == 0
    after = database().execute("select * from harness_trial order by number").fetchall()
    assert after[:4] == before and len(after) == 6
    points = database().execute(
        "select distinct strategy, frozen, head, dropout, optimizer, learning_rate from trial_summary"
    )
    assert len(points.fetchall()) == 6
    assert len(database().execute("select * from harness_baseline").fetchall()) == 1


@pytest.mark.usefixtures("untrained")
def test_fresh_starts_over_unless_the_study_is_in_use_or_input_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(capsys, "--trials", "3")
    fresh = ("--trials", "2", "--epochs", "1", "--fresh")
    store = Store("sqlite:///results/harness.db")
    with monkeypatch.context() as patch:
        patch.setattr("harness.backbones.weights.load_weights", absent)
        assert call(capsys, *fresh)[0] == 2
    alive = store.sessions.begin(
        "tiny", command="", spec={}, environment={"commit": "", "device": ""}, host=processes.host(), pid=1,
        process_started=processes.process_started(1) or 0.0,
    )  # fmt: skip
    code, _, err = call(capsys, *fresh)
    assert code == 2 and "study 'tiny' is being worked on from" in err
    assert len(store.trials.frame("tiny")) == 3
    store.sessions.end(alive, "done")
    assert call(capsys, *fresh)[0] == 0
    assert database().execute("select count(*) from trial_summary").fetchone() == (2,)
    assert database().execute("select count(*) from trials").fetchone() == (2,)


@pytest.mark.parametrize(
    ("before", "more", "moment"),
    [
        (0, (), "profile"),
        pytest.param(2, ("--fresh",), "profile", marks=pytest.mark.large),
        pytest.param(0, ("--fresh",), "draw", marks=pytest.mark.large),
    ],
)
@pytest.mark.usefixtures("untrained")
def test_the_second_of_two_equal_commands_joins(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    before: int,
    more: tuple[str, ...],
    moment: str,
) -> None:
    """One command runs as a whole at a moment of the other: before the other looks whether there is such a study, or
    after that and before it records its own."""
    if before:
        assert call(capsys, "--trials", str(before))[0] == 0
    real, calls = getattr(session, moment), iter([True])

    def meanwhile(*given: Any) -> Any:
        if next(calls, False):
            assert run.main(["--study", "tiny.toml", "--trials", "3", *more]) == 0
        return real(*given)

    monkeypatch.setattr(session, moment, meanwhile)
    code, _, err = call(capsys, "--trials", "3", *more)
    assert code == 0, err
    assert database().execute("select number, status from trial_summary").fetchall() == [
        (number, "complete") for number in range(3)
    ]
    assert database().execute("select count(*) from harness_session").fetchone() == (1,)  # the other found all done
    assert database().execute("select count(*) from trials").fetchone() == (3,)


@pytest.mark.usefixtures("untrained")
def test_the_rest_of_an_interrupted_deletion_is_not_continued(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(capsys, "--trials", "3")
    store = Store("sqlite:///results/harness.db")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "optuna_storage", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.delete_study("tiny")
    code, _, err = call(capsys, "--trials", "2")
    assert code == 2 and "holds an Optuna study 'tiny'" in err and "--fresh" in err
    assert store.studies.find("tiny") is None
    assert call(capsys, "--trials", "2", "--fresh")[0] == 0
    assert database().execute("select count(*) from trials").fetchone() == (2,)


def interrupted(_: Store) -> Any:
    raise KeyboardInterrupt


def absent(*_: object) -> Any:
    raise WeightsError("no weights here")


@pytest.mark.usefixtures("untrained")
def test_json_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--trials", "3", "--json")
    result = json.loads(out)
    assert code == 0 and len(result["trials"]) == 3
    assert result["best"]["val_accuracy"] == max(trial["val_accuracy"] for trial in result["trials"])
    scores = [point["val_accuracy"] for point in result["front"]]
    assert len(scores) > 1 and scores == sorted(scores)
    assert {baseline["name"] for baseline in result["baselines"]} == {"majority"}
    assert [point["train_flops"] for point in result["front"]] == sorted(
        point["train_flops"] for point in result["front"]
    )


def test_trials_over_the_cost_limit_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--trials", "4", "--max-trial-cost", "1e-9")[0] == 0
    rows = database().execute("select status, train_flops, reason from trial_summary").fetchall()
    assert {row[:2] for row in rows} == {("over_budget", 0.0)}
    assert "exceeds max_trial_cost" in rows[0][2]


@pytest.mark.usefixtures("untrained")
def test_no_trial_starts_after_the_time_limit(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "--trials", "2", "--time-limit", "1e-6")
    assert code == 0
    assert "0 of 2 trials are done: none was started after the time limit of 1e-06 s. To run the rest" in err
    assert database().execute("select count(*) from trial_summary").fetchone() == (0,)
    assert call(capsys, "--trials", "2")[0] == 0
    assert database().execute("select count(*) from trial_summary").fetchone() == (2,)


@pytest.mark.usefixtures("untrained")
def test_a_bug_ends_the_run_with_a_traceback_and_keeps_the_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(capsys, "--trials", "2")
    with monkeypatch.context() as patched:
        patched.setattr(worker, "run_trial", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call(capsys, "--trials", "3")
    store = Store("sqlite:///results/harness.db")
    assert len(store.trials.frame("tiny")) == 2
    assert store.sessions.frame("tiny")["outcome"].tolist() == ["done", "crashed"]
    assert call(capsys, "--trials", "3")[0] == 0
    assert len(store.trials.frame("tiny")) == 3


@pytest.mark.parametrize("end", ["done", "SIGTERM", "Ctrl-C", "bug", "bad input"])
@pytest.mark.usefixtures("untrained")
def test_every_ending_of_a_run_leaves_one_complete_database(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    trained, before = worker.run_trial, iter([True, True])

    def run_trial(*given: Any, **more: Any) -> TrialResult:
        if not next(before, False):
            if end == "SIGTERM":
                signal.raise_signal(signal.SIGTERM)
            if end == "Ctrl-C":
                raise KeyboardInterrupt
            if end == "bug":
                raise ZeroDivisionError
            if end == "bad input":
                raise WeightsError("no weights here")
        return trained(*given, **more)

    monkeypatch.setattr(worker, "run_trial", run_trial)
    if end == "bug":
        with pytest.raises(ZeroDivisionError):
            call(capsys, "--trials", "3")
    else:
        assert call(capsys, "--trials", "3")[0] == {"done": 0, "bad input": 2}.get(end, 130)
    assert {path.name for path in Path("results").glob("*.db*")} == {"harness.db"}
    copy_is_whole(Path("results/harness.db"), "tiny", trial=3 if end == "done" else 2, session=1, baseline=1)


def test_the_plan_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--dry-run", "--trials", "7", study="mnist")
    assert code == 0
    assert '"trials": 7' in out and "Predicted cost of a whole trial" in out
    costs = dict(re.findall(r"(feature_extraction|k=\d+|fine_tune_all|from_scratch) .*?([\d.]+) TFLOP │$", out, re.M))
    assert (
        float(costs["feature_extraction"]) < float(costs["k=10"]) < float(costs["k=5"]) < float(costs["fine_tune_all"])
    )
    assert not Path("results").exists()


def test_the_plan_and_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--dry-run", "--json", "--trials", "7", study="mnist")
    plan = json.loads(out)
    assert code == 0 and plan["study"]["budget"]["trials"] == 7 and plan["n_train"] == 2000
    costs = {row["strategy"]: row["train_flops"] for row in plan["predicted"]}
    assert (
        0
        < costs["feature_extraction at 32 px"]
        < costs["freeze_first_k k=10 at 32 px"]
        < costs["fine_tune_all at 32 px"]
    )
    assert run.main(["--list", "--json"]) == 0
    listed = {study["study"]: study for study in json.loads(capsys.readouterr().out)}
    assert listed["mnist"]["data"] == "mnist" and listed["images"]["data"] is None
    assert (listed["mnist"]["cost"], listed["images"]["cost"]) == ("flops", "seconds")


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    assert re.search(r"^mnist +2,000 MNIST digits", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "mnits"], "unknown study 'mnits': did you mean 'mnist'?"),
        ([], "no study given: add --study NAME"),
        (["--study", "", "--data", "digits.npz"], "unknown study ''"),
        (["--study", "tiny.toml", "--worker-cpus", "nan"], "give more than 0 processors, and 0 or more GPUs"),
        (["--study", "images"], "study 'images' names no images: give yours with --data PATH"),
        (["--data", "nowhere"], "there is no file or folder 'nowhere'"),
        (["--data", "tiny.toml"], "tiny.toml: "),
        (["--data", "results.txt"], "there is no file or folder 'results.txt'"),
        (["--study", "tiny.toml", "--trials", "0"], "error: --trials 0: "),
        (["--study", "tiny.toml", "--image-size", "31"], "give sizes of 32 to 512 pixels, but got 31"),
        (["--study", "tiny.toml", "--workers", "0"], "--workers 0: give 1 or more"),
        (["--study", "tiny.toml", "--resume"], "there is no database 'results/harness.db'"),
        (["--study", "tiny.toml", "--storage", "sqlite:////nowhere/at/all.db"], "/nowhere/at"),
        (
            ["--study", "tiny.toml", "--storage", "nonsense"],
            "the database URL of 8 characters does not parse: give sqlite:",
        ),
        (["--study", "tiny.toml", "--out", "/proc/page.html"], "nothing can be written to the folder /proc"),
        (["--study", "tiny.toml", "--out", "tiny.toml/page.html"], "nothing can be written to the folder tiny.toml"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run.main(arguments) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.startswith("error: ") and "Traceback" not in output.err
    assert output.out == ""


@pytest.mark.usefixtures("untrained")
def test_a_changed_problem_is_refused_and_the_results_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "--trials", "2")
    code, _, err = call(capsys, "--trials", "3", "--train-size", "90", "--seed", "4")
    assert code == 2
    assert "--train-size was 96, now 90; --seed was 0, now 4" in err and "--fresh" in err
    assert database().execute("select count(*) from trial_summary").fetchone() == (2,)


def test_wrong_weights_end_with_exit_code_two(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    Path("junk.h5").write_bytes(b"not weights")
    code, _, err = call(capsys, "--weights", "junk.h5")
    assert code == 2 and "junk.h5" in err and "Traceback" not in err


@pytest.mark.large
def test_a_disk_that_fills_while_writing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    call(capsys, "--trials", "2")
    database().execute("vacuum")  # otherwise free pages of the first run leave room
    pages = database().execute("pragma page_count").fetchone()[0]
    real = Store.__init__

    def small(self: Store, url: str, **options: Any) -> None:
        real(self, url, **options)
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"pragma max_page_count = {pages + 1}")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "__init__", small)
        code, _, err = call(capsys, "--trials", "40")
    assert code == 2 and "is full" in err and "Traceback" not in err
    assert database().execute("select count(*) from trial_summary").fetchone()[0] >= 2
    assert call(capsys, "--trials", "3")[0] == 0


@pytest.fixture
def one_kind(study_file: Path) -> None:
    """Give all heads of the study one kind, so that a process compiles one step."""
    kinds = '[search]\nstrategies = ["feature_extraction"]\nhidden_layers = [1, 1]\noptimizer = ["adam"]'
    study_file.write_text(study_file.read_text().replace("[search]", kinds))


def wait_for_trials(n: int, process: psutil.Process) -> None:
    """Wait until ``n`` trials are finished and another one is running."""
    while process.is_running():  # limited by the timeout of the test
        if Path("results/harness.db").exists():
            try:
                states = Counter(row[0] for row in database().execute("select status from harness_trial"))
            except sqlite3.OperationalError:
                states = Counter()
            if states["complete"] + states["pruned"] >= n and states[None]:
                return
        time.sleep(0.1)
    pytest.fail(f"never reached {n} trials")


def no_trial_is_lost_or_repeated(n: int) -> None:
    states = Counter(row[0] for row in database().execute("select state from trials"))
    assert set(states) <= {"COMPLETE", "PRUNED"} and states.total() == n
    numbers = [row[0] for row in database().execute("select number from trial_summary order by 1")]
    assert numbers == list(range(n))
    params = database().execute("select trial_id, group_concat(param_name || param_value) from trial_params group by 1")
    assert len({row[1] for row in params}) == n


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.large)])
@pytest.mark.usefixtures("one_kind")
def test_a_run_interrupted_then_killed_then_finished(runs: Runs, how: signal.Signals) -> None:
    command = ("--study", "tiny.toml", "--trials", "6")
    process = runs.start(*command, pause_in=2)
    wait_for_trials(2, process)
    process.send_signal(how)
    code, _, err = runs.end()
    assert code == 130
    assert "Run the same command again, without --fresh, to continue" in err and "Traceback" not in err
    copy_is_whole(Path("results/harness.db"), "tiny", session=1)
    for query in ("select lower(state) from trials", "select status from harness_trial"):
        states = Counter(row[0] for row in database().execute(query))
        assert states.total() == states["complete"] + states["pruned"] == 2
    assert Path("results/tiny.html").exists()
    process = runs.start(*command, pause_in=2)
    wait_for_trials(4, process)
    process.kill()
    assert runs.end()[0] == -signal.SIGKILL
    (shown,) = database().execute("select count(*) from trials").fetchone()
    assert 2 < shown <= 4, "Optuna is shown trials while a run goes on, those of a moment not one by one"
    runs.start(*command)
    code, out, err = runs.end()
    assert code == 0, err
    assert "Accuracy-versus-compute front" in out
    no_trial_is_lost_or_repeated(6)


@pytest.mark.large
@pytest.mark.usefixtures("one_kind")
def test_two_workers_share_one_study(runs: Runs) -> None:
    runs.start("--study", "tiny.toml", "--trials", "12", "--workers", "2")
    code, _, err = runs.end()
    assert code == 0, err
    copy_is_whole(Path("results/harness.db"), "tiny", trial=12, session=2)
    no_trial_is_lost_or_repeated(12)
    sessions = database().execute("select session, count(*) from trial_summary group by 1").fetchall()
    assert len(sessions) == 2, "one worker did everything"
    assert database().execute("select count(*) from harness_session where outcome = 'done'").fetchone() == (2,)


def test_mlflow_is_checked_before_the_search_and_written_after_it(
    untrained: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(uri: str) -> None:
        raise StorageError(f"MLflow at {uri} cannot be used")

    monkeypatch.setattr("dashboards.mlflow_runs.check_mlflow", refuse)
    assert call(capsys, "--mlflow", "there")[::2] == (2, "error: MLflow at there cannot be used\n")
    assert not Path("results").exists()
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr("dashboards.mlflow_runs.check_mlflow", lambda uri: calls.append((uri,)))
    monkeypatch.setattr("dashboards.mlflow_runs.write_mlflow", lambda _, *given: calls.append(given))
    code, out, err = call(capsys, "--trials", "1", "--mlflow", "there", "--quiet")
    assert code == 0 and calls == [("there",), ("tiny", "there")]
    assert "Strategies" in out and all(line.startswith("WARNING: ") for line in err.splitlines())
