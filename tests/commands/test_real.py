"""Small searches with VGG16 on real images. Marked large because they need its weights."""

import sqlite3
from pathlib import Path

import keras
import numpy as np
import pytest

from harness import run
from harness.backbones.backbone import Backbone
from harness.backbones.devices import as_numpy
from harness.backbones.weights import load_weights
from harness.core.backbone import BackboneSpec
from harness.core.spec import StudySpec
from harness.data.dataset import draw
from harness.storage.store import Store
from tests.helpers.exported import export

pytestmark = pytest.mark.large
VGG16 = BackboneSpec.load("vgg16")


@pytest.fixture
def weights_file(shared: Path) -> Path:
    return shared / "weights" / "vgg16_imagenet_notop.weights.h5"


def test_the_backbone_is_keras_vgg16(weights_file: Path) -> None:
    keras.config.set_dtype_policy("float32")
    backbone = Backbone.of(VGG16, load_weights(VGG16, weights_file))
    backbone.load(pretrained=False, seed=1)
    backbone.load(pretrained=True, seed=0)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    values = backbone.prepare(64)(pixels)
    for stage in backbone.stages:
        values = stage(values)
    model = keras.applications.VGG16(weights=str(weights_file), include_top=False, input_shape=(64, 64, 3))
    expected = model.predict(keras.applications.vgg16.preprocess_input(pixels.astype(np.float32)), verbose=0)
    assert np.allclose(as_numpy(values), expected, rtol=1e-3, atol=1e-3)


def test_a_small_search_on_mnist(weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    flags = ["--trials", "8", "--train-size", "400", "--validation-size", "300", "--epochs", "2", "--name", "small"]
    assert run.main(["--study", "mnist", "--weights", str(weights_file), *flags]) == 0
    rows = dict(
        sqlite3.connect("results/harness.db").execute(
            "select strategy, max(val_accuracy) from trial_summary group by 1"
        )
    )
    assert set(rows) == {"feature_extraction", "freeze_first_k", "fine_tune_all", "from_scratch"}
    majority = sqlite3.connect("results/harness.db").execute(
        "select val_accuracy from harness_baseline where name = 'majority'"
    )
    assert max(accuracy for accuracy in rows.values() if accuracy is not None) > 0.6 > majority.fetchone()[0]


def test_class_weights_and_macro_f1_on_unbalanced_x_rays(
    shared: Path, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    file = shared / "datasets" / "chest_xray.npz"
    Path("xray.toml").write_text(f'name = "xray"\nfile = "{file}"\nsimilar_to_imagenet = false\n')
    Path("study.toml").write_text(
        'name = "xray"\nmetric = "macro_f1"\nclass_weights = true\n'
        '[data]\ndataset = "xray.toml"\ntrain_size = 500\nvalidation_size = 300\n'
        '[search]\nimage_size = 32\nstrategies = ["feature_extraction"]\noptimizer = ["adam"]\n'
        "learning_rate.feature_extraction = [1e-3, 1e-2]\n[budget]\ntrials = 4\nepochs = 4\n"
    )
    assert run.main(["--study", "study.toml", "--weights", str(weights_file)]) == 0
    database = sqlite3.connect("results/harness.db")
    majority = database.execute(
        "select val_accuracy, val_balanced_accuracy, val_macro_f1 from harness_baseline where name = 'majority'"
    ).fetchone()
    assert majority[1] == pytest.approx(1 / 3) and majority[0] > 0.4 > majority[2]
    best = database.execute("select max(val_macro_f1) from trial_summary").fetchone()[0]
    stored = database.execute("select max(value) from trial_values where objective = 0").fetchone()[0]
    assert best == stored > 0.5


@pytest.mark.parametrize("name", ["clothing", "chest_xray"])
def test_real_images_as_folders_and_as_a_manifest(
    name: str, shared: Path, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    flags = ["--trials", "2", "--train-size", "90", "--validation-size", "45", "--test-size", "45", "--epochs", "1"]
    flags += ["--image-size", "32", "--weights", str(weights_file)]
    for layout in ("folders", "manifest"):
        images = export(shared / "datasets" / f"{name}.npz", tmp_path / layout, layout, limit=60)
        assert run.main(["--data", str(images), "--name", layout, *flags]) == 0
    studies = [Store("sqlite:///results/harness.db").studies.find(layout) for layout in ("folders", "manifest")]
    assert all(study is not None and study.data["n_train"] == 90 for study in studies)
    found = [study.data["check"] for study in studies if study is not None]
    assert found[0]["images"] == found[1]["images"] and found[0]["found"] == found[1]["found"]
    assert not found[0]["unreadable"] and found[0]["counts"] == found[1]["counts"]


@pytest.mark.parametrize(
    "study", sorted((Path(__file__).parent.parent / "studies").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_studies_of_the_shared_sets_can_be_drawn(
    study: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    spec, dataset = StudySpec.load(str(study), {"data.dataset": str(shared / "datasets" / f"{study.stem}.npz")})
    drawn = draw(dataset, spec.data, spec.seed)
    assert spec.name == study.stem and min(map(len, drawn.members().values())) > 0
