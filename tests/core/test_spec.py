"""Studies in TOML: reading, invalid values and their messages."""

import re
from pathlib import Path

import pytest

from harness.core.backbone import BackboneSpec
from harness.core.errors import SpecError
from harness.core.spec import DatasetSpec, StudySpec, shipped
from harness.core.strategy import ARTICLE_KINDS

_VGG16 = BackboneSpec.load("vgg16")
LIKE_VGG16 = _VGG16.model_copy(update={"least_size": 75}).model_dump()
LARGE = LIKE_VGG16 | {"name": "large"}
RECOMMENDED = {
    "kind": "feature_extraction", "frozen": 9, "pooling": "average", "head": [], "dropout": 0.0, "optimizer": "adam",
    "learning_rate": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in shipped("studies") if name != "images"])
def test_shipped_studies_are_valid_and_have_data(name: str) -> None:
    spec, dataset = StudySpec.load(name)
    assert spec.name == name
    assert dataset.file.is_file() if dataset.file is not None else dataset.download is not None


def test_the_mnist_study_is_small_enough_for_a_laptop() -> None:
    spec, _ = StudySpec.load("mnist")
    assert (spec.search.image_size, spec.data.train_size, spec.data.validation_size, spec.data.test_size) == (
        (32,),
        2000,
        1000,
        2000,
    )
    assert spec.budget.epochs <= 5
    assert len(spec.search.strategies) == 4


@pytest.mark.parametrize(
    ("name", "overrides", "holds"),
    [
        ("mnist", {"budget.trials": 3, "data.train_size": 2000}, True),
        ("mnist", {"data.train_size": 500}, False),
        ("mnist", {"data.dataset": "fashion_mnist"}, False),
        ("images", {"data.dataset": "mnist", "data.train_size": 500}, True),  # "your own images, at most 2,000"
        ("images", {"data.dataset": "mnist", "search.image_size": 96}, False),
    ],
)
def test_a_description_is_dropped_for_other_images(name: str, overrides: dict[str, object], holds: bool) -> None:
    assert bool(StudySpec.load(name, overrides)[0].description) == holds


def test_overrides_replace_values_of_the_file(study_file: Path) -> None:
    spec, _ = StudySpec.load(str(study_file), {"budget.trials": 3, "seed": 9, "pruning.enabled": False})
    assert (spec.budget.trials, spec.seed, spec.pruning.enabled) == (3, 9, False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnits",
            "unknown study 'mnits': did you mean 'mnist'? Known: article_mnist, cats_vs_dogs, cifar10, fashion_mnist,",
        ),
        ("nowhere.toml", "there is no study file"),
    ],
)
def test_an_unknown_study_suggests_the_nearest(name: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        StudySpec.load(name)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("budget.trails", 3, "unknown key 'budget.trails': did you mean 'trials'?"),
        ("recommendation.figure", {}, "unknown key 'recommendation.figure': did you mean 'figures'?"),
        ("serach", {}, "unknown key 'serach': did you mean 'search'?"),
        ("search.frozen", [0, 12], "frozen must hold 1 <= low <= high <= 12, but got [0, 12]"),
        ("search.frozen", [1, 13], "frozen must hold 1 <= low <= high <= 12, but got [1, 13]"),
        ("search.frozen", [7, 3], "frozen must hold 1 <= low <= high <= 12, but got [7, 3]"),
        ("search.image_size", 31, "search.image_size: give sizes of 32 to 512 pixels, but got 31"),
        ("search.image_size", [64, 520], "search.image_size: give sizes of 32 to 512 pixels, but got 520"),
        ("search.image_size", [96, 64], "give each size once and in ascending order, [64, 96], but got [96, 64]"),
        ("search.image_size", [64, 64], "give each size once and in ascending order, [64], but got [64, 64]"),
        ("search.image_size", [], "search.image_size = []: Tuple should have at least 1 item"),
        ("search.image_size", "large", "search.image_size = 'large'"),
        ("search.backbones", ["vgg61"], "unknown backbone 'vgg61': did you mean 'vgg16'?"),
        ("search.backbones", ["vgg16", "vgg16"], "give each backbone once, but got ['vgg16', 'vgg16']"),
        ("search.backbones", [], "search.backbones = []: Tuple should have at least 1 item"),
        ("search.backbones", 16, "search.backbones = 16"),
        ("search.backbones", [LIKE_VGG16], "'vgg16' is the name of a shipped backbone: give yours another in its file"),
        ("search.backbones", [LARGE], "image_size 32 is too small for large: give 75 or more"),
        (
            "recommendation.strategy",
            RECOMMENDED | {"backbone": "efficientnet_lite0"},
            "recommendation.strategy is of efficientnet_lite0, but search.backbones are ['vgg16']",
        ),
        ("data.image_size", 64, "image_size is searched: write image_size = 64 under [search]"),
        ("budget.trials", 0, "budget.trials = 0: Input should be greater than or equal to 1"),
        ("search.minimum_share", 0.4, "minimum_share 0.4 times 4 strategies is more than all trials"),
        ("search.learning_rate", {"from_scratch": [1e-3, 1e-2]}, "learning_rate.feature_extraction is missing"),
        ("search.strategies", ["freeze_all"], "'freeze_all'"),
        ("seed.more", 1, "seed = "),
        ("metric", "f1", "metric = 'f1'"),
        ("search.head_share", [0.5, 1.5], "head_share must hold 0.0 <= low <= high <= 1.0"),
        ("budget.time_limit", float("inf"), "budget.time_limit = inf: Input should be a finite number"),
        ("recommendation", {"strategi": 1}, "unknown key 'recommendation.strategi': did you mean 'strategy'?"),
        (
            "recommendation",
            {"strategy": {"kind": "fine_tune_all", "dropuot": 0}},
            "unknown key 'recommendation.strategy.dropuot': did you mean 'dropout'?",
        ),
        ("search.learning_rate", {"a\nb": [1, 2]}, "search.learning_rate.'a\\nb'"),
        ("description", list(range(1000)), "description = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,"),
        ("seed", [16**5000], "seed = a value with too many digits: Input should be a valid integer"),
        ("budget.epochs", 2**31, "budget.epochs = 2147483648: Input should be less than 2147483648"),
        ("name", "a\nb", "name: 'a\\nb' holds a line break or a control character: leave it out"),
    ],
)
def test_an_invalid_value_is_named_with_its_key(study_file: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        StudySpec.load(str(study_file), {key: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_invalid_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(SpecError, match=r"broken.toml is not valid TOML"):
        StudySpec.load(str(tmp_path / "broken.toml"))


@pytest.mark.parametrize(("epochs", "expected"), [(2, (1, 1)), (3, (1, 2)), (5, (1, 3)), (20, (4, 12))])
def test_each_of_two_phases_has_an_epoch(study_file: Path, epochs: int, expected: tuple[int, int]) -> None:
    two = {"search.strategies": ["two_phase"], "search.learning_rate.two_phase": [1e-3, 1e-2]}
    assert StudySpec.load(str(study_file), {**two, "budget.epochs": epochs})[0].head_epochs(epochs) == expected
    with pytest.raises(SpecError, match=r"two_phase needs budget\.epochs of 2 or more, but got 1"):
        StudySpec.load(str(study_file), {**two, "budget.epochs": 1})


def test_home_folders_in_files(study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    digits = tmp_path / "digits.toml"
    digits.write_text('name = "digits"\npath = "~/digits.npz"\n')
    study_file.write_text(study_file.read_text().replace("digits.toml", "~/digits.toml"))
    for study in (str(study_file), "~/tiny.toml"):
        assert StudySpec.load(study)[1].file == tmp_path / "digits.npz"
    study_file.write_text(study_file.read_text().replace("~/digits.toml", "~/digits.npz"))
    assert StudySpec.load("~/tiny.toml")[1].file == tmp_path / "digits.npz"
    assert DatasetSpec.load("~/digits.npz", tmp_path / "elsewhere").file == tmp_path / "digits.npz"


def test_a_name_that_is_too_long_for_a_file_is_unknown() -> None:
    with pytest.raises(SpecError, match="there is no study file"):
        StudySpec.load(f"{'x' * 300}.toml")


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_text('name = "set"\nfile = ""\n')
    with pytest.raises(SpecError, match=r"set\.toml: the path in file is empty: give a folder or file, or \. for this"):
        DatasetSpec.load("set.toml", tmp_path)


def test_one_epoch_leaves_out_two_phases_of_a_shipped_study() -> None:
    assert "two_phase" in StudySpec.load("cifar10")[0].search.strategies
    assert StudySpec.load("cifar10", {"budget.epochs": 1})[0].search.strategies == ARTICLE_KINDS
    with pytest.raises(SpecError, match=r"two_phase needs budget\.epochs of 2 or more"):
        StudySpec.load("cifar10", {"budget.epochs": 1, "search.strategies": ["two_phase"]})


@pytest.mark.parametrize(
    ("refinements", "message"),
    [
        ({"weight_decay": [0.1, 0]}, "weight_decay must hold 0 to 1 in ascending order, but got"),
        ({"mixup": [0.2, 0.2]}, "mixup: give each value once"),
        ({"body_rate": [0, 1]}, "body_rate must hold 0.0001 to 1"),
        ({"body_rates": [0.1, 1]}, "body_rate"),
        ({"averaging": []}, "averaging"),
    ],
)
def test_refinements_out_of_range_are_named(study_file: Path, refinements: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        StudySpec.load(str(study_file), {"search.refinements": refinements})


def test_one_value_of_a_refinement_is_fixed(study_file: Path) -> None:
    space = StudySpec.load(str(study_file), {"search.refinements": {"weight_decay": 0.05, "body_rate": 0.1}})[0].search
    assert space.refinements.weight_decay == (0.05,) and space.refinements.body_rate == (0.1, 0.1)
    assert not space.refinements.searched("weight_decay") and not space.refinements.searched("body_rate")


def test_epochs_above_the_budget_are_left_out(study_file: Path) -> None:
    spec = StudySpec.load(str(study_file), {"search.epochs": [4, 2, 30], "budget.epochs": 8})[0]
    assert spec.epochs == (2, 4, 8)
