"""Studies and data sets: TOML files read into frozen, validated objects."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.core.errors import SpecError
from harness.core.results import BaselineName, Metric
from harness.core.strategy import ARTICLE_KINDS, MOST_HIDDEN_LAYERS, N_CONVS, Kind, OptimizerName, Pooling, Strategy
from harness.core.toml_files import find, read_toml, validated
from harness.core.toml_files import shipped as shipped
from harness.core.toml_files import shipped_folder as shipped_folder

ANY_IMAGES = "images"
"""The shipped study that names no data set: what `harness run --data PATH` runs."""

Precision = Literal["auto", "float32", "bfloat16"]
Range = tuple[float, float]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetSpec(_Declared):
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

    name: str
    file: Path | None = None
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
        return declared

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.download is None):
            raise ValueError("give either file (or path) or download, to say where the images are")
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
        if not name.isprintable():
            raise SpecError(f"the path {name!r} of a data set cannot be stored with a study: rename it, or link to it")
        path = folder / name
        if name in shipped("datasets") or path.suffix == ".toml":
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
            find("data set", name, "datasets", folder)
        return validated(cls, {"name": label, **given}, path)


KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
"""The image data sets in keras.datasets."""


class DataSpec(_Declared):
    """Which images a study uses. Sizes are numbers of images.

    Attributes:
        train_size: By default all images that are left.
        validation_size: By default 20 % of the training set.
        test_size: By default the whole test set, or 20 % of the training set if the data set has no test set.
        max_images: Limit of training and validation images together, if their sizes are not given.
        image_size: Side in pixels of the square images that the network is given.
        views: Views of each training image that the epochs cycle through: the image itself, then shifts of it (see
            `harness.data.augmentation`).
        flip: Whether half of the views are mirrored; set it if a mirror image is of the same class.
    """

    dataset: str
    train_size: Annotated[int, Field(ge=1)] | None = None
    validation_size: Annotated[int, Field(ge=1)] | None = None
    test_size: Annotated[int, Field(ge=1)] | None = None
    max_images: Annotated[int, Field(ge=10)] | None = None
    image_size: Annotated[int, Field(ge=32, le=512)] = 224
    views: Annotated[int, Field(ge=1)] = 1
    flip: bool = False


class SearchSpace(_Declared):
    """What the sampler may choose. Ranges include both ends.

    Attributes:
        strategies: ``two_phase`` is searched only if it is listed; its k starts at 0.
        minimum_share: Share of all trials that each strategy gets before the sampler is free.
        learning_rate: The range for each strategy.
        head_share: ``two_phase`` only: share of the epochs in which the head alone trains.
        rate_factor: ``two_phase`` only: factor on the learning rate after that.
    """

    strategies: Annotated[tuple[Kind, ...], Field(min_length=1)] = ARTICLE_KINDS
    minimum_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    frozen: tuple[int, int] = (1, N_CONVS - 1)
    pooling: Annotated[tuple[Pooling, ...], Field(min_length=1)] = ("average", "max", "flatten")
    hidden_layers: tuple[int, int] = (0, 3)
    head_width: tuple[int, int] = (32, 4096)
    dropout: Range = (0.0, 0.6)
    optimizer: Annotated[tuple[OptimizerName, ...], Field(min_length=1)] = ("adam", "sgd")
    learning_rate: dict[Kind, Range]
    head_share: Range = (0.2, 0.6)
    rate_factor: Range = (0.003, 0.3)

    @model_validator(mode="after")
    def _check(self) -> Self:
        ranges: dict[str, tuple[Range, Range]] = {
            "frozen": (self.frozen, (1, N_CONVS - 1)),
            "hidden_layers": (self.hidden_layers, (0, MOST_HIDDEN_LAYERS)),
            "head_width": (self.head_width, (1, 8192)),
            "dropout": (self.dropout, (0.0, 0.95)),
            "head_share": (self.head_share, (0.0, 1.0)),
            "rate_factor": (self.rate_factor, (1e-6, 1.0)),
        }
        for kind in self.strategies:
            if kind not in self.learning_rate:
                raise ValueError(f"learning_rate.{kind} is missing: give its range, e.g. [1e-4, 1e-2]")
            ranges[f"learning_rate.{kind}"] = (self.learning_rate[kind], (1e-8, 10.0))
        for name, ((low, high), (least, most)) in ranges.items():
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must hold {least} <= low <= high <= {most}, but got [{low}, {high}]")
        if self.minimum_share * len(self.strategies) > 1:
            raise ValueError(
                f"minimum_share {self.minimum_share} times {len(self.strategies)} strategies is more than all trials"
            )
        return self


class Budget(_Declared):
    """How much a study may spend.

    Attributes:
        precision: ``auto`` is the faster one on the machine that starts the study.
        max_trial_cost: TFLOP of training.
        time_limit: Seconds after which no trial starts.
        cache_size: GB of activations kept on disk. If those of one freeze depth do not fit, they are computed again in
            every epoch.
    """

    trials: Annotated[int, Field(ge=1)] = 50
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 64
    precision: Precision = "auto"
    max_trial_cost: Annotated[float, Field(gt=0)] | None = None
    time_limit: Annotated[float, Field(gt=0)] | None = None
    cache_size: Annotated[float, Field(gt=0)] = 8.0

    @property
    def cache_bytes(self) -> int:
        """Return ``cache_size`` in bytes."""
        return int(self.cache_size * 1e9)


class Pruning(_Declared):
    """When a running trial is stopped early.

    A trial stops if its network is dead, or if even the optimistic forecast plus ``margin`` stays below the front. The
    margin is in accuracy: 0.01 is one point.
    """

    enabled: bool = True
    margin: Annotated[float, Field(ge=0, le=1)] = 0.005


class BaselinesSpec(_Declared):
    """Which baselines run, and for how many epochs the trained ones are trained."""

    names: tuple[BaselineName, ...] = ("majority", "mlp", "cnn", "linear_probe")
    epochs: Annotated[int, Field(ge=1)] = 20


class AdviceSpec(_Declared):
    """The boundaries of the four scenarios.

    Attributes:
        large_at: Training images from which a data set counts as large. The article calls the 60,000 of MNIST small
            and gives no number.
        similar_below: Kernel distance to ImageNet (`harness.statistics.similarity`) below which a data set counts as
            similar. The default is the middle of the gap between photos of things, places and animals, and digits,
            hand signs and X-rays, as measured in ``datasets/similarity.json``.
    """

    large_at: Annotated[int, Field(ge=1)] = 100_000
    similar_below: Annotated[float, Field(gt=0)] = 0.15


class Recommendation(_Declared):
    """What `harness confirm` recommends, in a study file that it has written.

    ``strategy`` is the study's first trial. ``figures`` tell the reader what to expect of it.
    """

    strategy: Strategy
    figures: dict[str, Any] = {}


class StudySpec(_Declared):
    """A study: what is searched, on which images, with which budget.

    Attributes:
        metric: The validation score that the search maximizes, stops trials by and draws the front of. For unbalanced
            classes choose another than accuracy.
        class_weights: Whether the loss weights an image by the inverse of its class's frequency.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
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
        if "two_phase" in self.search.strategies and self.budget.epochs < 2:
            raise ValueError(f"two_phase needs budget.epochs of 2 or more, but got {self.budget.epochs}")
        if self.data.views > self.budget.epochs:
            raise ValueError(f"data.views {self.data.views} are more than the {self.budget.epochs} of budget.epochs")
        return self

    @property
    def head_epochs(self) -> tuple[int, int]:
        """Return the smallest and the largest number of epochs of the first phase of ``two_phase``.

        Each phase has at least one epoch.
        """
        low, high = (round(share * self.budget.epochs) for share in self.search.head_share)
        most = self.budget.epochs - 1
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
        if any(others.get(key, value) != value for key, value in overrides.items()):
            declared.pop("description", None)
        for key, value in overrides.items():
            *sections, last = key.split(".")
            target = declared
            for section in sections:
                target = target.setdefault(section, {})
                if not isinstance(target, dict):
                    raise SpecError(f"{path.name}: {section} = {target!r}: make it a section, [{section}]")
            target[last] = value
        if isinstance(declared.get("data"), dict) and "dataset" not in declared["data"]:
            raise SpecError(f"study {name!r} names no images: give yours with --data PATH, or data.dataset in the file")
        spec = validated(cls, declared, path)
        return spec, DatasetSpec.load(spec.data.dataset, Path.cwd() if "data.dataset" in overrides else path.parent)
