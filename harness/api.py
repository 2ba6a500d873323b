"""The harness from Python: `harness.search`, `harness.load`, the `Study` that both return, and `harness.advise`."""

import html
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from harness import main_job
from harness.analysis.rows import Rows
from harness.analysis.summary import summarise
from harness.core.backbone import BackboneSpec
from harness.core.errors import HarnessError, SpecError
from harness.core.framework import loading
from harness.core.interrupts import interrupts
from harness.core.paths import DEFAULT_STORAGE, expand, page_path, user_path
from harness.core.spec import ANY_IMAGES
from harness.storage import database
from harness.storage.outputs import check_output
from harness.storage.queries import now
from harness.storage.sqlite_files import expand_home
from harness.storage.store import Store
from harness.workers.children import check_main_guard, exit_if_repeated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.core.results import Metric
    from harness.core.spec import Precision
    from harness.rules.advised import Advised

_FIGURE = (900, 560)
"""Width and height of the figure in a notebook, in CSS pixels."""

AnyPath = str | os.PathLike[str]
_Default = TypeVar("_Default")

_OPTION = re.compile(r"""--([a-z]+(?:-[a-z]+)*)( (?=-?\d|\[|[A-Z]+\b|["']|\S*[/.]\S)|(?=[.,;)]|$| and\b| or\b))?""")
"""An option of a command in a message, and a value that follows, or the end of what is said of it."""
_FLAGS = {
    "no-pruning": "pruning=False", "fresh": "fresh=True", "overwrite": "overwrite=True", "reopen": "reopen=True",
    "class-weights": "class_weights=True",
}  # fmt: skip


def search(
    data: "AnyPath | tuple[NDArray[np.uint8], NDArray[Any]] | pd.DataFrame | Any | None" = None,
    *,
    study: AnyPath | None = None,
    trials: int | None = None,
    time_limit: float | str | None = None,
    name: str | None = None,
    train_size: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    image_size: int | Sequence[int] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    precision: "Precision | None" = None,
    seed: int | None = None,
    metric: "Metric | None" = None,
    class_weights: bool | None = None,
    max_trial_cost: float | None = None,
    pruning: bool | None = None,
    relabel: AnyPath | None = None,
    storage: str = DEFAULT_STORAGE,
    page: AnyPath | None = None,
    weights: Mapping[str, AnyPath] | None = None,
    workers: int = 1,
    mlflow: str | None = None,
    tensorboard: AnyPath | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> "Study":
    """Search transfer-learning strategies on your images, as `harness run` does, and return the study.

    The results are in the same database as those of the command. The same call again continues where the study stopped
    and adds only the trials that are missing, also after an interruption.

    Args:
        data: The path or name of a data set: a folder with one folder of images for each class, a manifest (``.csv``,
            ``.parquet``), an ``.npz``; a tuple (images, labels) of arrays, (n, height, width[, 3]) with values from 0
            to 255 and integers or texts (n,); a pandas DataFrame with the columns filename and label, optionally split
            and group; or a ``tf.data.Dataset`` of pairs (image, label), which is read into memory (at most 4 GB).
        study: A shipped study or the path of a TOML file. By default the study ``images``.
        trials: Trials in total, those already done included.
        time_limit: Time to plan for: seconds, or a text such as ``15m``.
        name: The name under which results are stored. By default that of the data set, or of the study's file.
        train_size: Training images.
        validation_size: Validation images.
        test_size: Images of the held-out test set.
        image_size: The size of the square input to search, in pixels, or several.
        epochs: Epochs of a complete trial.
        batch_size: Images in a batch.
        precision: Arithmetic of convolutions in training: ``auto``, ``float32`` or ``bfloat16``.
        seed: The seed of split, search and training.
        metric: The validation score to search for: ``accuracy``, ``balanced_accuracy`` or ``macro_f1``.
        class_weights: Whether to weight the loss by inverse class frequency.
        max_trial_cost: Skip trials predicted to cost more, in TFLOP.
        pruning: Whether hopeless trials are stopped early.
        relabel: A CSV of decisions on labels, as ``harness errors --csv`` writes it.
        storage: The SQLAlchemy URL of the database.
        page: The page to write. By default ``results/<study>.html``.
        weights: Files of ImageNet weights by backbone. Others are found or downloaded.
        workers: Processes that run trials. For more than one, a script needs ``if __name__ == "__main__":``.
        mlflow: The URI of an MLflow store to write the study to afterwards, such as ``http://127.0.0.1:5000``.
        tensorboard: A folder of ``tensorboard --logdir`` to write the study to afterwards.
        fresh: Whether to delete the study's results first.
        quiet: Whether to show no progress.

    Raises:
        HarnessError: A user error. The message says what to change.
        KeyboardInterrupt: The search was interrupted. Every trial that had finished is kept.

    Returns:
        The study, to look at, confirm and export.

    Examples:
        >>> study = harness.search("photos/", trials=30, time_limit="15m")
        >>> study.best["val_accuracy"]
    """
    exit_if_repeated()
    given = {
        "name": name, "budget.trials": trials, "data.train_size": train_size, "data.validation_size": validation_size,
        "data.test_size": test_size, "search.image_size": _sizes(image_size),
        "budget.epochs": epochs, "budget.batch_size": batch_size, "budget.precision": precision, "seed": seed,
        "metric": metric, "class_weights": class_weights, "budget.time_limit": time_limit,
        "budget.max_trial_cost": max_trial_cost, "pruning.enabled": pruning,
    }  # fmt: skip
    overrides = {key: value for key, value in given.items() if value is not None}
    started = now()
    with (
        _naming_keywords("page"),
        interrupts(),
        database.closing(),
        main_job.naming_options([*overrides, "data.relabel"]),
    ):
        files, storage = _files(weights), _url(storage)
        if workers < 1:
            raise SpecError(f"--workers {workers}: give 1 or more")
        spec, dataset = main_job.resolve(
            None if study is None else expand(os.fspath(study)),
            None if data is None else _path_of(data),
            overrides,
            _path_or(relabel, None),
        )
        if workers > 1:
            check_main_guard(f"--workers {workers}")
        with loading():
            from harness.workers.session import Request  # heavy: TensorFlow or JAX is loaded

        request = Request(
            spec,
            dataset,
            storage=storage,
            weights=files,
            workers=workers,
            fresh=fresh,
            command=f"harness.search(name={spec.name!r}, {_as_arguments(overrides)})",
            started=started,
        )
        with main_job.tracking(spec.name, storage, mlflow, _path_or(tensorboard, None)):
            main_job.search(request, _path_or(page, page_path(spec.name)), quiet=quiet)
    return Study(spec.name, storage=storage, weights=files)


def advise(data: "AnyPath | pd.DataFrame | Any", *, weights: Mapping[str, AnyPath] | None = None) -> "Advised":
    """Say before any training what to begin with, as `harness advise` does.

    Args:
        data: The images, as for `search`.
        weights: Files of ImageNet weights by backbone. Others are found or downloaded.

    Returns:
        The advice: ``choice``, the recommended way with the accuracy to expect, its 90 % interval and its cost;
        ``options``, all ways; ``by_rule``, what each rule chooses. It prints as sentences.

    Raises:
        HarnessError: The images or weights cannot be read.

    Examples:
        >>> advice = harness.advise("photos/")
        >>> advice.choice.arm.place(), advice.choice.accuracy
    """
    with interrupts(), _naming_keywords(""):
        files = _files(weights)
        spec, dataset = main_job.resolve(ANY_IMAGES, _path_of(data), {})
        with loading():
            from harness.data.dataset import draw
            from harness.rules.advising import advise as on
            from harness.rules.outcomes import recorded
        return on(spec, dataset, draw(dataset, spec.data, spec.seed), recorded(), files)


def load(
    name: str,
    *,
    storage: str = DEFAULT_STORAGE,
    data: AnyPath | None = None,
    weights: Mapping[str, AnyPath] | None = None,
) -> "Study":
    """Return the study ``name`` of a database.

    Args:
        name: The study's name.
        storage: The SQLAlchemy URL of the database.
        data: The study's images, if they have moved since the search.
        weights: Files of ImageNet weights by backbone, for `Study.confirm` and `Study.export`.

    Returns:
        The study.

    Raises:
        HarnessError: There is no such study, or no such database.

    Examples:
        >>> study = harness.load("photos", storage="sqlite:///results/harness.db")
    """
    found = Study(name, storage=_url(storage), data=data, weights=weights)
    _ = found.trials  # raises where there is none
    return found


class Study:
    """A study of a database, as `search` and `load` return it.

    Each attribute is read when it is asked for, so that it is of that moment. At the end of a notebook's cell a study
    shows its summary and the figure of accuracy versus compute.

    Attributes:
        name: The study's name.
        storage: The SQLAlchemy URL of its database.

    Examples:
        >>> study = harness.load("photos")
        >>> study.trials[["number", "label", "val_accuracy", "train_flops"]]
    """

    def __init__(
        self, name: str, *, storage: str, data: AnyPath | None = None, weights: Mapping[str, AnyPath] | None = None
    ) -> None:
        self.name, self.storage = name, storage
        self._data = None if data is None else expand(os.fspath(data))
        self._weights = _files(weights)

    @property
    def trials(self) -> pd.DataFrame:
        """The finished trials by number: the columns of ``trial_summary``, and ``label``, the strategy in words.

        Examples:
            >>> study.trials.groupby("strategy")["val_accuracy"].max()
        """
        return self._rows().trials

    @property
    def best(self) -> "pd.Series[Any] | None":
        """The row of ``trials`` with the highest score, the cheapest of equals; None where no trial has a score.

        Examples:
            >>> study.best["label"]
        """
        rows = self._rows()
        best = rows.best()
        return None if best is None else pd.Series(best, name=f"trial {best['number']}")

    @property
    def front(self) -> pd.DataFrame:
        """The checkpoints on the Pareto front of score and compute, the cheapest first.

        Examples:
            >>> study.front[["label", "epoch", "val_accuracy"]]
        """
        return self._rows().front().reset_index(drop=True)

    @property
    def baselines(self) -> pd.DataFrame:
        """The baselines that have run: strategies that no search is needed for, such as a linear probe.

        Examples:
            >>> study.baselines[["name", "val_accuracy"]]
        """
        return self._rows().baselines

    @property
    def confirmed(self) -> pd.DataFrame | None:
        """The last confirmation: for each candidate the test accuracy, mean over the seeds, with its 95 % interval from
        ``low`` to ``high``. None where the test set is sealed.

        Examples:
            >>> study.confirmed
        """
        from harness.analysis.confirmed import confirmation

        found = confirmation(self._rows())
        if found is None:
            return None
        return pd.DataFrame(
            {
                "candidate": c.candidate.name,
                "label": c.label,
                "roles": ", ".join(c.candidate.roles),
                "val_accuracy": c.val_accuracy,
                "test_accuracy": None if c.test is None else c.test.mean,
                "low": None if c.test is None else c.test.low,
                "high": None if c.test is None else c.test.high,
                "train_flops": c.train_flops,
            }
            for c in found.candidates
        )

    def confirm(
        self,
        *,
        finalists: int = 3,
        seeds: int = 5,
        reopen: bool = False,
        page: AnyPath | None = None,
        quiet: bool = False,
    ) -> pd.DataFrame | None:
        """Train the finalists again and evaluate them on the held-out test set, as `harness confirm` does.

        Args:
            finalists: Most finalists from the front.
            seeds: Seeds per candidate.
            reopen: Whether to open a test set that was opened before.
            page: The page to write. By default ``results/<study>.html``.
            quiet: Whether to show no progress.

        Returns:
            `confirmed`.

        Raises:
            HarnessError: The test set was opened before, or there is nothing to confirm.

        Examples:
            >>> study.confirm(finalists=1, seeds=2)
        """
        with _naming_keywords("page"), interrupts(), database.closing():
            main_job.confirm(
                self.name,
                _path_or(page, page_path(self.name)),
                storage=self.storage,
                recorded=f"harness.load({self.name!r}).confirm(finalists={finalists}, seeds={seeds})",
                weights=self._weights,
                data=self._data,
                finalists=finalists,
                seeds=seeds,
                reopen=reopen,
                quiet=quiet,
            )
        return self.confirmed

    def export(
        self,
        folder: AnyPath,
        *,
        trial: int | None = None,
        formats: Sequence[str] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Train the best trial again and write it as a model that needs no harness, as `harness export` does.

        Args:
            folder: The folder to write.
            trial: The trial to export. By default the complete one that validates best.
            formats: Any of ``keras``, ``saved_model``, ``onnx``, ``litert``, ``litert_int8``, ``openvino`` and
                ``openvino_int8``. By default those of the first three whose packages are installed.
            overwrite: Whether to replace an earlier export.

        Returns:
            The folder.

        Raises:
            HarnessError: There is no such trial, or the folder cannot be written.

        Examples:
            >>> study.export("model", formats=["keras"])
        """
        from harness import export

        out = _path(folder)
        with _naming_keywords("folder"), interrupts(), database.closing():
            export.check_target(out, overwrite)
            store = self._store()
            wanted = export.formats_of([formats] if isinstance(formats, str) else formats)
            export.write(out, *export.of_study(store, self.name, trial, self._data), wanted, self._weights)
        return out

    def page(self, file: AnyPath | None = None) -> Path:
        """Write the study's page, one HTML file that needs no network, as `harness dashboard` does.

        Args:
            file: The page to write. By default ``results/<study>.html``.

        Returns:
            Its path.

        Raises:
            HarnessError: It cannot be written.

        Examples:
            >>> study.page("page.html")
        """
        from dashboards.page import write_page

        path = _path_or(file, page_path(self.name))
        with _naming_keywords("file"), database.closing():
            check_output(path, "page", self.storage)
            write_page(self._store(), self.name, path)
        return path

    def __repr__(self) -> str:
        return "\n".join(self._lines(self._rows()))

    def _repr_html_(self) -> str:
        """Return the summary and the figure of accuracy versus compute, for a notebook."""
        from dashboards.figures.front import front_drawing
        from dashboards.page import MOST_POINTS, figure_page

        rows = self._rows()
        head, *sentences = map(html.escape, self._lines(rows))
        text = f"<p><b>{head}</b><br>{'<br>'.join(sentences)}</p>"
        figure = front_drawing(rows, MOST_POINTS).views[rows.cost.unit].figure
        if figure is None:
            return text
        width, height = _FIGURE
        page = html.escape(figure_page(figure, width, height))
        return (
            f'{text}<iframe srcdoc="{page}" width="{width}" height="{height}" sandbox="allow-scripts" '
            'style="border: 0" title="Accuracy versus compute"></iframe>'
        )

    def _lines(self, rows: Rows) -> list[str]:
        where = database.shown(database.parse_url(self.storage))
        done = f"{len(rows.trials)} of {rows.spec['budget']['trials']} trials"
        return [f"Study {self.name!r}, {done}, in {where}", *summarise(rows).sentences]

    def _store(self) -> Store:
        return Store(self.storage, must_exist=True)

    def _rows(self) -> Rows:
        with _naming_keywords("page"), database.closing():
            return Rows.read(self._store(), self.name)


@contextmanager
def _naming_keywords(out: str) -> Iterator[None]:
    """Let user errors in the block name keywords instead of a command's options; ``--out`` is the keyword ``out``."""
    try:
        yield
    except HarnessError as error:
        # What is in backquotes is a command.
        parts = str(error).split("`")
        parts[::2] = [_OPTION.sub(lambda option: _keyword(option, out), part) for part in parts[::2]]
        raise type(error)("`".join(parts)) from None


def _keyword(option: re.Match[str], out: str) -> str:
    name, value = option.groups()
    if name in _FLAGS and value == " ":  # the value of a keyword that is no option's
        return f"{_FLAGS[name].partition('=')[0]}="
    if name in _FLAGS:
        return f"{_FLAGS[name]}{option[0].removeprefix(f'--{name}')}"
    keyword = out if name == "out" else name.replace("-", "_")
    return f"{keyword}=" if value is not None else keyword


def _path_of(data: Any) -> str:
    from harness.data.in_memory import path_of

    return expand(path_of(data))


def _sizes(given: int | Sequence[int] | None) -> list[Any] | None:
    if given is None:
        return None
    return [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)


def _path(given: AnyPath) -> Path:
    """Return a path that the user has given. Raises SpecError where it is empty: it would be the current folder."""
    if not os.fspath(given).strip():
        raise SpecError("a path is empty: give one, or . for this folder")
    return user_path(os.fspath(given))


def _path_or(given: AnyPath | None, default: _Default) -> Path | _Default:
    return default if given is None else _path(given)


def _files(weights: Mapping[str, AnyPath] | None) -> dict[str, Path]:
    """Return the files of weights by backbone. Raises SpecError if they are no mapping, or a backbone is unknown."""
    if not isinstance(weights or {}, Mapping):
        raise SpecError(f"weights={weights!r}: give files by backbone, such as {{'vgg16': {str(weights)!r}}}")
    given = {}
    for name, file in (weights or {}).items():
        BackboneSpec.load(name)  # raises for an unknown one
        given[name] = _path(file)
    return given


def _url(storage: str) -> str:
    if not isinstance(storage, str):
        raise SpecError(f"storage={str(storage)!r}: give a URL as text, such as 'sqlite:///{storage}'")
    return expand_home(storage)


def _as_arguments(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={value!r}" for key, value in overrides.items() if key != "name")
