"""Exporting a study's model: whole exports of the tiny network, and invalid input."""

import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from harness import export, run
from harness.core.errors import SpecError, StorageError
from harness.core.predictions import Predictions
from harness.core.results import METRICS, Candidate, Checkpoint, TrialResult
from harness.core.strategy import Strategy
from harness.data.dataset import Images, SealedTest
from harness.data.decoding import decode
from harness.deployment import model_card, winner
from harness.deployment.exported_model import Exported
from harness.deployment.formats import FORMATS
from harness.deployment.winner import Evidence, Winner
from harness.storage.confirmations import Confirmation, Opening
from harness.storage.store import Store
from harness.strategy_search import worker
from harness.training.problem import Problem
from harness.workers import work
from tests.deployment.test_standalone import photo
from tests.helpers.whole import copy_is_whole

STORAGE = "sqlite:///results/harness.db"
LABELS = np.arange(48) % 3
PREDICTIONS = Predictions.of(np.random.default_rng(0).normal(size=(48, 3)) + np.eye(3)[LABELS], LABELS).calibrated()


pytestmark = pytest.mark.usefixtures("tiny_vgg16", "study_file")


def _result(score: float) -> TrialResult:
    scores = {f"val_{metric}": score for metric in METRICS}
    return TrialResult("complete", 1e9, 1e9, val_loss=1.0, train_loss=1.0, **scores, predictions=PREDICTIONS)


@pytest.fixture
def searched(
    tiny_vgg16: None, study_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Store:
    """The database of a study with two finished trials with invented figures."""
    study = Path("tiny.toml")
    study.write_text(study.read_text().replace("[baselines]", '[baselines]\nnames = ["majority"]'))
    results = iter([_result(0.5), _result(0.75)])
    with monkeypatch.context() as patch:
        patch.setattr(worker, "run_trial", lambda *_, **__: next(results))
        assert run.main(["--study", "tiny.toml", "--trials", "2", "--epochs", "1", "--no-pruning"]) == 0
    capsys.readouterr()
    return Store(STORAGE)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = export.main(list(arguments))
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_whole_export(searched: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def open_test(_: SealedTest) -> Images:
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(SealedTest, "open", open_test)
    keras_only = ("--formats", "keras")  # the tutorial's test exports the others
    code, out, err = call(capsys, "--study", "tiny", "--out", "models/one", *keras_only)
    assert code == 0, err
    copy_is_whole(Path("results/harness.db"), "tiny", trial=2, baseline=1)
    assert "exported to models/one" in out and "epoch 1 of 1: training loss" in err
    assert {path.name for path in Path("models").iterdir()} == {"one"}  # no temporary folder is left
    exported = Exported.load(Path("models/one"))
    assert exported.signature.class_names == ["a", "b", "c"] and exported.signature.channels == 1
    assert exported.signature.n_calibrated == 48 and exported.expected(0.9) is not None
    described = Winner.load(Path("models/one/spec.toml"))
    assert described == Winner.of(searched, "tiny")
    assert (described.evidence.trial, described.evidence.score) == (1, 0.75)
    assert described.seed == searched.trials.frame("tiny")["seed"].tolist()[1]
    text = Path("models/one/README.md").read_text()
    for part in (
        "144 images",
        "30 test images",
        "CC BY 4.0",
        "made by the tests",
        "95 % interval",
        "TFLOP",
        "0. a",
        "Keras >= 3.9",
        "logits of 48 validation images",
    ):
        assert part in text
    assert "saved_model" not in text, "the card names a file that was not asked for"

    # The card's lines that read an image from a file, and find its class.
    (code_block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    files = [f"{kind}-{width}.{kind}" for kind in ("png", "jpeg") for width in (9, 30, 61, 400)]
    for file in files:
        photo((int(file.split("-")[1].split(".")[0]), 40), "L").save(file)
    with monkeypatch.context() as patch:
        patch.chdir("models/one")
        namespace: dict[str, Any] = {"files": [Path("../..") / file for file in files]}
        exec(code_block, namespace)
    for file, found in zip(files, namespace["images"], strict=True):
        with Path(file).open("rb") as opened:
            assert np.array_equal(found, np.repeat(decode(opened, 12)[0][..., None], 3, axis=2)), file
    best = exported.probabilities(namespace["images"]).argmax(axis=1)
    assert namespace["labels"] == [exported.signature.class_names[index] for index in best]

    # The spec reproduces the model exactly.
    assert call(capsys, "--spec", "models/one/spec.toml", "--data", "digits.toml", "--out", "two", *keras_only)[0] == 0
    pixels = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), dtype=np.uint8)
    assert np.array_equal(Exported.load(Path("two")).probabilities(pixels), exported.probabilities(pixels))

    # --overwrite replaces an earlier export, but no other files.
    again = ("--study", "tiny", "--out", "models/one")
    code, _, err = call(capsys, *again)
    assert code == 2 and "--overwrite" in err
    assert call(capsys, *again, "--overwrite", "--trial", "0", *keras_only)[0] == 0
    assert {path.name for path in Path("models/one").iterdir()} == {"model.keras", "spec.toml", "README.md"}
    assert Winner.load(Path("models/one/spec.toml")).evidence.trial == 0
    Path("models/one/notes.txt").write_text("mine")
    code, _, err = call(capsys, *again, "--overwrite")
    assert code == 2 and "notes.txt" in err and Path("models/one/notes.txt").is_file()


def test_the_winner_is_the_best_by_the_metric_of_the_study(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = iter([replace(_result(0.9), val_macro_f1=0.2), replace(_result(0.5), val_macro_f1=0.6)])
    monkeypatch.setattr(worker, "run_trial", lambda *_, **__: next(results))
    monkeypatch.setattr(work, "run_baseline", lambda *_, **__: _result(0.3))
    assert run.main(["--study", "tiny.toml", "--trials", "2", "--metric", "macro_f1"]) == 0
    evidence = Winner.of(Store(STORAGE), "tiny").evidence
    assert (evidence.trial, evidence.score) == (1, 0.6)


def small_model() -> keras.Model:
    """A model of the three classes, made in no time."""
    images = keras.Input((None, None, 3), dtype="uint8")
    values = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, keras.layers.Dense(3, activation="softmax")(values))


@pytest.mark.large
def test_a_stopped_export_leaves_nothing_and_keeps_the_old_one(
    searched: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winner, "train", lambda *_: (small_model(), _result(0.0)))
    assert call(capsys, "--study", "tiny", "--out", "there", "--formats", "keras")[0] == 0
    before = {path.name: path.read_bytes() for path in Path("there").iterdir()}

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    def stopped(*_: object) -> str:
        raise KeyboardInterrupt

    for stop, expected in ((full, 2), (stopped, 130)):
        monkeypatch.setattr(model_card, "model_card", stop)
        for target in ("new", "there"):
            code, _, err = call(capsys, "--study", "tiny", "--out", target, "--overwrite", "--formats", "keras")
            assert code == expected, err
        assert not Path("new").exists() and not list(Path().glob(".new-*")) and not list(Path().glob(".there-*"))
        assert {path.name: path.read_bytes() for path in Path("there").iterdir()} == before


@pytest.mark.large
def test_the_current_folder_and_a_link_are_written_into(
    searched: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(winner, "train", lambda *_: (small_model(), _result(0.0)))
    given = ("--study", "tiny", "--storage", f"sqlite:///{tmp_path}/results/harness.db", "--formats", "keras")
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here", target_is_directory=True)
    monkeypatch.chdir("here")
    inode = Path().stat().st_ino
    for out, more in ((".", ()), ("../here", ("--overwrite",)), ("../link", ("--overwrite",))):
        (tmp_path / "here" / ".export-left").mkdir(exist_ok=True)  # by an export that was killed
        code, printed, err = call(capsys, *given, "--out", out, *more)
        assert code == 0, err
        assert "README.md, model.keras, spec.toml" in printed
        assert {path.name for path in Path().iterdir()} == {"README.md", "model.keras", "spec.toml", ".export-left"}
    assert Path().stat().st_ino == inode and (tmp_path / "link").is_symlink()
    assert call(capsys, *given, "--out", ".")[0] == 2


def test_files_that_cannot_be_moved_are_moved_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    (there / "README.md" / "in the way").mkdir(parents=True)
    (there / "spec.toml").write_text("old")
    monkeypatch.setattr(export, "_files_in", lambda folder: [folder / "spec.toml"])  # the other came afterwards

    def write() -> None:
        with export._new_files(there) as folder:
            (folder / "README.md").write_text("new")
            (folder / "spec.toml").write_text("new")

    with pytest.raises(StorageError, match="cannot be written"):
        write()
    assert (there / "spec.toml").read_text() == "old"
    assert {path.name for path in there.iterdir()} == {"spec.toml", "README.md"}


def test_bad_input(searched: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, part in (
        (("--study", "tinny", "--out", "new"), "there is no study 'tinny'"),
        (("--study", "tiny", "--trial", "77", "--out", "new"), "no finished trial 77"),
        (("--study", "tiny", "--out", "tiny.toml"), "is a file"),
        (("--study", "tiny", "--out", "cache"), "which no export wrote"),
        (("--spec", "tiny.toml", "--out", "new"), "is not a spec.toml"),
        (("--spec", "none.toml", "--out", "new"), "none.toml"),
        (("--spec", "none.toml", "--trial", "1", "--out", "new"), "--trial 1"),
    ):
        code, _, err = call(capsys, *arguments)
        assert code == 2 and part in err and "Traceback" not in err
    with np.load("digits.npz") as archive:
        arrays = dict(archive)
    np.savez("digits.npz", **arrays | {"images": arrays["images"][::-1]})
    code, _, err = call(capsys, "--study", "tiny", "--out", "new")
    assert code == 2 and "are not those" in err
    assert not Path("new").exists()


def test_other_formats_are_written_and_compared(
    searched: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what of them is installed; none of them is written unless it is asked for."""
    usual = {name: form for name, form in FORMATS.items() if form.usual}
    assert list(usual) == ["keras", "saved_model", "onnx"]
    here = [name for name, form in FORMATS.items() if all(map(find_spec, {*form.packages, form.runtime}))]
    monkeypatch.setattr(winner, "train", lambda *_: (small_model(), _result(0.0)))
    code, _, err = call(capsys, "--study", "tiny", "--out", "new", "--formats", *here)
    assert code == 0 and "Traceback" not in err
    card = Path("new/README.md").read_text()
    for name in here:
        assert (Path("new") / FORMATS[name].target).exists()
        assert re.search(
            rf"\| `{FORMATS[name].target}` \| [\d.e-]+ MB \| [\d.]+ ms \| [+-]\d+\.\d\d points \| \d+ of 48 \|", card
        )
    assert f"| `model.keras` | {Path('new/model.keras').stat().st_size / 1e6:.3g} MB |" in card
    assert "+0.00 points | 0 of 48 |" in card
    assert call(capsys, "--study", "tiny", "--out", "new", "--overwrite", "--formats", "keras")[0] == 0


def test_an_unknown_format_is_named_from_python() -> None:
    with pytest.raises(SpecError, match="--formats onxx: give any of keras, saved_model, onnx, litert"):
        export.formats_of(["onxx"])


def test_a_missing_package_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    Path("results").mkdir()
    Store(STORAGE)
    code, _, err = call(capsys, "--study", "tiny", "--out", "new", "--formats", "onnx")
    assert code == 2 and "needs onnx and tf2onnx: pip install 'transfer-harness[onnx]'" in err


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy("feature_extraction", 13, "flatten", (8,), 0.2, "adam", 1e-2, image_size=32),
        Strategy("two_phase", 7, "average", (), 0.0, "sgd", 1e-2, head_epochs=1, rate_factor=0.1, image_size=32),
    ],
)
def test_the_model_is_the_trained_network(strategy: Strategy, tiny_problem: Problem) -> None:
    split, evidence = tiny_problem.split, Evidence(0, 1, 0.5, 48, 1e9)
    assert PREDICTIONS.calibration is not None
    doubled = replace(PREDICTIONS.calibration, temperature=2.0)
    chosen = Winner(tiny_problem.spec, strategy, 3, split.train.digest(), evidence, doubled)
    pixels, labels = split.validation.pixels, split.validation.labels
    for cached in (False, True):
        points: list[Checkpoint] = []
        model, result = winner.train(chosen, split, {}, points.append)
        assert result.features_cached == cached
        assert len(points) == 2
        # The last validation loss of the fit loop; these images were trained on.
        assert result.val_loss is not None
        found = model.predict_on_batch(np.repeat(pixels[..., None], 3, axis=3)).astype(np.float64)
        found **= 2.0  # the network's own probabilities, but for their sum
        found /= found.sum(axis=1, keepdims=True)
        assert -np.log(found[np.arange(len(labels)), labels]).mean() == pytest.approx(result.val_loss, rel=1e-4)


@pytest.mark.large
def test_the_card_shows_the_confirmed_test_accuracy(
    searched: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [Candidate("trial 1", ("finalist 1",), Winner.of(searched, "tiny").strategy, 1)]
    opening = searched.confirmations.record_test_opening(
        "tiny", Opening(command="", finalists=1, seeds=[5, 6], n_test=30, candidates=candidates), session=1
    )
    for seed, hits in ((5, 27), (6, 24)):
        result = replace(_result(hits / 30), predictions=_recognised(hits, 30))
        searched.confirmations.record(
            "tiny", opening, Confirmation(candidate="trial 1", seed=seed, n_train=144, result=result), session=1
        )
    searched.confirmations.finish_test_opening("tiny", opening)
    monkeypatch.setattr(winner, "train", lambda *_: (small_model(), _result(0.0)))
    assert call(capsys, "--study", "tiny", "--out", "new", "--formats", "keras")[0] == 0
    assert "0.8500, 95 % interval" in Path("new/README.md").read_text()
    measured = Winner.load(Path("new/spec.toml")).evidence.test
    assert measured is not None and (measured.accuracy, measured.n_test, measured.seeds) == (pytest.approx(0.85), 30, 2)
    assert call(capsys, "--study", "tiny", "--out", "other", "--trial", "0", "--formats", "keras")[0] == 0
    assert "not measured" in Path("other/README.md").read_text()


def _recognised(hits: int, n: int) -> Predictions:
    labels = np.arange(n) % 3
    return Predictions.of(np.eye(3)[(labels + (np.arange(n) >= hits)) % 3], labels)


def test_names_are_escaped_in_the_card() -> None:
    assert model_card.text("a|b\n# <b>*x*</b>") == r"a\|b \# &lt;b&gt;\*x\*&lt;/b&gt;"


def test_a_spec_survives_a_round_trip(searched: Store) -> None:
    found = Winner.of(searched, "tiny")
    study = found.study.model_copy(update={"name": 'a "name" \\ é'})
    again = replace(found, study=study)
    Path("spec.toml").write_text(again.toml(), encoding="utf-8")
    tomllib.loads(again.toml())
    assert Winner.load(Path("spec.toml")) == again


_ISOLATED = """
import sys, json, zipfile
import numpy as np

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("harness", "dashboards", "tests"):
            raise ImportError(name)

sys.meta_path.insert(0, Forbid())
import keras
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
names = json.loads(zipfile.ZipFile(sys.argv[1]).read("harness.json"))["class_names"]
images = np.load(sys.argv[2], allow_pickle=False)
np.save(sys.argv[3], model.predict(images, verbose=0), allow_pickle=False)
print(json.dumps(names))
"""


@pytest.mark.large
def test_the_model_loads_without_the_harness(searched: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--study", "tiny", "--out", "new", "--formats", "keras")[0] == 0
    pixels = np.random.default_rng(0).integers(0, 256, (200, 12, 12, 3), dtype=np.uint8)
    np.save("images.npy", pixels)
    command = [sys.executable, "-I", "-c", _ISOLATED, "new/model.keras", "images.npy", "found.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '["a", "b", "c"]'
    assert np.abs(np.load("found.npy") - Exported.load(Path("new")).probabilities(pixels)).max() < 1e-5
