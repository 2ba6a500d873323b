"""Studies and data sets: TOML files read into frozen, validated objects."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.core.backbone import Declared
from harness.core.clock import seconds_of
from harness.core.errors import SpecError
from harness.core.paths import UserPath, expand
from harness.core.results import BaselineName, Metric
from harness.core.search_space import SearchSpace
from harness.core.strategy import Strategy, depths
from harness.core.toml import read_toml
from harness.core.toml_files import find
from harness.core.toml_files import shipped as shipped
from harness.core.toml_files import shipped_folder as shipped_folder
from harness.core.validation import short, validated

ANY_IMAGES = "images"
"""The shipped study that names no data set: what `harness run --data PATH` runs."""

Precision = Literal["auto", "float32", "bfloat16"]
Count = Annotated[int, Field(ge=1, lt=2**31)]
"""How many of something: a 32-bit integer in the database."""


def _one_line(name: str) -> str:
    if not name.isprintable():
        raise ValueError(f"{name!r} holds a line break or a control character: leave it out")
    return name


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]


class DatasetSpec(Declared):
    """A data set: where its images are, their source and licence, and whether they are similar to ImageNet.

    Attributes:
        file: In TOML also ``path``, relative to the TOML file: a folder of class folders, a manifest (``.csv`` or
            ``.parquet`` with filename, label and optionally split and group), or an ``.npz`` with ``images`` (n,
            height, width[, 3]) uint8, ``labels`` (n,) integers and optionally ``class_names``, ``split`` ("train",
            "validation" or "test" for each row) and ``groups``.
        download: Instead of ``file``, a data set to download: ``keras:NAME`` (keras.datasets) or ``tfds:NAME``
            (TensorFlow Datasets).
        similar_to_imagenet: Measured if it is not declared, see `harness.statistics.similarity`.
    """

    name: Name
    file: UserPath | None = None
    download: Annotated[str, Field(pattern=r"^(keras|tfds):[A-Za-z0-9][A-Za-z0-9_/.+-]*$")] | None = None
    sha256: str | None = None
    source: str = ""
    licence: str = ""
    similar_to_imagenet: bool | None = None
    similarity_source: str = "declared by the data set's file"

    @model_validator(mode="before")
    @classmethod
    def _path_is_file(cls, declared: Any) -> Any:
        if isinstance(declared, dict) and "path" in declared and "file" not in declared:
            declared = {**declared, "file": declared["path"]}
            del declared["path"]
        if isinstance(declared, dict) and declared.get("file") == "":
            raise ValueError("the path in file is empty: give a folder or file, or . for this folder")
        return declared

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.download is None):
            raise ValueError("give either file (or path) or download, to say where the images are")
        if "\0" in str(self.file):
            raise ValueError("the path in file holds a NUL character: leave it out")
        source, _, name = (self.download or "").partition(":")
        if source == "keras" and name not in KERAS_DATASETS:
            raise ValueError(f"keras.datasets has no images {name!r}, but {', '.join(KERAS_DATASETS)}")
        return self

    @classmethod
    def load(cls, name: str, folder: Path) -> Self:
        """Read the data set ``name``.

        Args:
            name: A shipped data set, the path of a TOML file or of a data set itself (see above), or one to download.
            folder: What relative paths are relative to.

        Raises:
            SpecError: If there is no such data set, or its file cannot be read as one.
        """
        if not name.strip():
            raise SpecError("the path of the images is empty: give a folder or file, or . for this folder")
        if not name.isprintable():
            raise SpecError(f"the path {name!r} of a data set cannot be stored with a study: rename it, or link to it")
        path = folder / expand(name)
        if name in shipped("datasets") or path.suffix.lower() == ".toml":
            path = find("data set", name, "datasets", folder)
            spec = validated(cls, read_toml(path), path)
            return spec if spec.file is None else spec.model_copy(update={"file": (path.parent / spec.file).absolute()})
        if os.path.exists(path):  # noqa: PTH110 - a name that is too long for a path is no error here
            given: dict[str, Any] = {"file": path.absolute(), "source": "given by its path"}
            label = re.sub(r"[^\w.-]+", "-", path.absolute().stem).strip(".-")[:60] or "data"
        elif name in KERAS_DATASETS or name.startswith(("keras:", "tfds:")):
            given = {"download": name if ":" in name else f"keras:{name}", "source": "downloaded by its name"}
            label = name.partition(":")[2] or name
        else:
            raise SpecError(_not_there(name, folder))
        return validated(cls, {"name": label, **given}, path)


KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
"""The image data sets in keras.datasets."""


class Relabelled(Declared):
    """A decision on an image: ``file``, listed as of class ``label``, gets class ``becomes``; where that is None it is
    not used."""

    file: str
    label: str
    becomes: str | None = None


class DataSpec(Declared):
    """Which images a study uses. Sizes are numbers of images.

    Attributes:
        train_size: By default all images that are left.
        validation_size: By default 20 % of the training set.
        test_size: By default the whole test set, or 20 % of the training set if the data set has no test set.
        max_images: Limit of training and validation images together, if their sizes are not given.
        views: Views of each training image that the epochs cycle through: the image itself, then shifts of it (see
            `harness.data.augmentation`).
        flip: Whether half of the views are mirrored; set it if a mirror image is of the same class.
        relabel: Labels of training and validation images that are changed, and images that are left out. No file is
            touched.
    """

    dataset: str
    train_size: Count | None = None
    validation_size: Count | None = None
    test_size: Count | None = None
    max_images: Annotated[Count, Field(ge=10)] | None = None
    views: Count = 1
    flip: bool = False
    relabel: tuple[Relabelled, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _size_is_searched(cls, declared: Any) -> Any:
        if isinstance(declared, dict) and "image_size" in declared:
            raise ValueError(f"image_size is searched: write image_size = {declared['image_size']} under [search]")
        return declared


def _seconds(declared: Any) -> Any:
    return seconds_of(declared) if isinstance(declared, str) else declared


class Budget(Declared):
    """How much a study may spend.

    Attributes:
        batch_pixels: What the images of a batch have together, at most: above a certain size a batch holds fewer than
            ``batch_size`` images, and training takes no more memory. None for no limit.
        precision: ``auto`` is the faster one on the machine that starts the study.
        max_trial_cost: TFLOP of training.
        time_limit: Seconds that the search plans for, or a text such as ``15m``. No trial starts after it, nor one that
            is predicted to take more than a third of it or more than what is left.
        cache_size: GB of activations kept on disk. If those of one freeze depth do not fit, they are computed again in
            every epoch.
    """

    trials: Count = 50
    epochs: Count = 5
    batch_size: Count = 64
    batch_pixels: Count | None = None
    precision: Precision = "auto"
    max_trial_cost: Annotated[float, Field(gt=0)] | None = None
    time_limit: Annotated[float, Field(gt=0), BeforeValidator(_seconds)] | None = None
    cache_size: Annotated[float, Field(gt=0, le=1e9)] = 8.0

    def epochs_of(self, strategy: Strategy) -> int:
        """Return the epochs of a whole training of ``strategy``."""
        return strategy.planned_epochs or self.epochs

    def batch_size_at(self, image_size: int) -> int:
        """Return how many square images of ``image_size`` pixels a batch holds at most."""
        if self.batch_pixels is None:
            return self.batch_size
        return max(1, min(self.batch_size, self.batch_pixels // image_size**2))

    @property
    def cache_bytes(self) -> int:
        """Return ``cache_size`` in bytes."""
        return int(self.cache_size * 1e9)


class Pruning(Declared):
    """When a running trial is stopped early.

    A trial stops if its network is dead, or if even the optimistic forecast plus ``margin`` stays below the front. The
    margin is in accuracy: 0.01 is one point.
    """

    enabled: bool = True
    margin: Annotated[float, Field(ge=0, le=1)] = 0.005


class BaselinesSpec(Declared):
    """Which baselines run, and for how many epochs the trained ones are trained."""

    names: tuple[BaselineName, ...] = ("majority", "mlp", "cnn", "linear_probe")
    epochs: Count = 20


class AdviceSpec(Declared):
    """The boundaries of the four scenarios.

    Attributes:
        large_at: Training images from which a data set counts as large. The article calls the 60,000 of MNIST small
            and gives no number.
        similar_below: Kernel distance to ImageNet (`harness.statistics.similarity`) below which a data set counts as
            similar. The default is the middle of the gap between photos of things, places and animals, and digits,
            hand signs and X-rays, as measured in ``datasets/similarity.json``.
    """

    large_at: Count = 100_000
    similar_below: Annotated[float, Field(gt=0)] = 0.15


class Recommendation(Declared):
    """What `harness confirm` recommends, in a study file that it has written.

    ``strategy`` is the study's first trial. ``figures`` tell the reader what to expect of it.
    """

    strategy: Strategy
    figures: dict[str, Any] = Field(default_factory=dict)


class StudySpec(Declared):
    """A study: what is searched, on which images, with which budget.

    Attributes:
        metric: The validation score that the search maximizes, stops trials by and draws the front of. For unbalanced
            classes choose another than accuracy.
        class_weights: Whether the loss weights an image by the inverse of its class's frequency.
    """

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    metric: Metric = "accuracy"
    class_weights: bool = False
    data: DataSpec
    search: SearchSpace
    budget: Budget = Budget()
    pruning: Pruning = Pruning()
    baselines: BaselinesSpec = BaselinesSpec()
    advice: AdviceSpec = AdviceSpec()
    recommendation: Recommendation | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        key = "search.epochs" if self.search.epochs else "budget.epochs"
        if "two_phase" in self.search.strategies and self.epochs[0] < 2:
            raise ValueError(f"two_phase needs {key} of 2 or more, but got {self.epochs[0]}")
        if self.recommendation is not None:
            strategy = self.recommendation.strategy
            names = [backbone.name for backbone in self.search.backbones]
            if strategy.backbone not in names:
                raise ValueError(f"recommendation.strategy is of {strategy.backbone}, but search.backbones are {names}")
            low, high = depths(strategy.kind, len(self.search.backbone(strategy.backbone).stages))
            if not low <= strategy.frozen <= high:
                raise ValueError(
                    f"recommendation.strategy.frozen is {strategy.frozen}, but {strategy.kind} of {strategy.backbone} "
                    f"needs {low} to {high}"
                )
        if self.data.views > self.epochs[0]:
            raise ValueError(f"data.views {self.data.views} are more than the {self.epochs[0]} of {key}")
        return self

    @property
    def epochs(self) -> tuple[int, ...]:
        """Return the epochs that a whole training may have, ascending; the budget's are the most."""
        return (*sorted({n for n in self.search.epochs if n < self.budget.epochs}), self.budget.epochs)

    def head_epochs(self, epochs: int) -> tuple[int, int]:
        """Return the smallest and the largest number of epochs of the first phase of ``two_phase``, of ``epochs`` in
        all.

        Each phase has at least one epoch.
        """
        low, high = (round(share * epochs) for share in self.search.head_share)
        most = epochs - 1
        return max(1, min(low, most)), max(1, min(high, most))

    @classmethod
    def load(cls, name: str, overrides: Mapping[str, Any] | None = None) -> tuple[Self, DatasetSpec]:
        """Read a study and its data set.

        The description is dropped if the images, their number or their size are overridden, as it no longer applies.

        Args:
            name: A shipped study, or the path of a TOML file.
            overrides: Dotted keys -> values that replace the file's, such as ``{"budget.trials": 10}``. A path
                of a data set given here is relative to the current folder, one in the file to the file's folder.

        Raises:
            SpecError: For an unknown study, an unknown key (naming the nearest one) or a value out of range.
        """
        overrides = overrides or {}
        path = find("study", name, "studies", Path.cwd())
        declared = read_toml(path)
        data = declared.get("data")
        others = {f"data.{key}": value for key, value in data.items()} if isinstance(data, dict) else {}
        if isinstance(space := declared.get("search"), dict) and "image_size" in space:
            others["search.image_size"] = space["image_size"]
        if any(others.get(key, value) != value for key, value in overrides.items()):
            declared.pop("description", None)
        if overrides.get("budget.epochs") == 1 and isinstance(space, dict):
            strategies = space.get("strategies")  # one epoch leaves no room for two phases
            if isinstance(strategies, list) and strategies != ["two_phase"]:
                space["strategies"] = [kind for kind in strategies if kind != "two_phase"]
        for key, value in overrides.items():
            *sections, last = key.split(".")
            target = declared
            for section in sections:
                target = target.setdefault(section, {})
                if not isinstance(target, dict):
                    raise SpecError(f"{path.name}: {section} = {short(target)}: make it a section, [{section}]")
            target[last] = value
        if isinstance(declared.get("data"), dict) and "dataset" not in declared["data"]:
            raise SpecError(f"study {name!r} names no images: give yours with --data PATH, or data.dataset in the file")
        spec = validated(cls, declared, path)
        return spec, DatasetSpec.load(spec.data.dataset, Path.cwd() if "data.dataset" in overrides else path.parent)


def _not_there(name: str, folder: Path) -> str:
    """Return the message that there is no data set ``name``, with what is spelled most like it."""
    if url := re.match(r"\w[\w+.-]*://", name):  # what follows may hold a password
        return f"{url[0]}…: images are not read from a URL: download and unpack them, and give the path of their folder"
    path, known = folder / name, shipped("datasets")
    beside = sorted(os.listdir(path.parent)) if os.path.isdir(path.parent) else []  # noqa: PTH112, PTH208 - as above
    close = difflib.get_close_matches(path.name, [*beside, *known], n=1, cutoff=0.6)
    meant = f": did you mean {str(Path(name).with_name(close[0]))!r}?" if close else "."
    where = f" in {folder}" if not path.is_absolute() or Path(name) != path else ""
    return (
        f"there is no file or folder {name[:200]!r}{where}{meant} Give the path of your images, or the name of a "
        f"data set: {', '.join(dict.fromkeys([*known, *KERAS_DATASETS]))}"
    )
