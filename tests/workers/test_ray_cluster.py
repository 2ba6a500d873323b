"""A real Ray cluster of two nodes on this machine, and a real PostgreSQL: a search loses one node in its middle."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from harness.storage.store import Store
from tests.conftest import ROOT, postgres_database

TRIALS = 60  # of a second or two: the second node's worker may begin ten seconds after the first's

pytestmark = [pytest.mark.large, pytest.mark.postgres, pytest.mark.timeout(3600)]


class Node:
    """A node of the cluster with room for one worker."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._node = cluster.add_node(num_cpus=1, include_dashboard=False)
        (raylet,) = [process for name, those in self._node.live_processes() if name == "raylet" for process in [those]]
        self.pid = raylet.pid

    def has(self, pid: int) -> bool:
        """Tell whether the process ``pid`` runs on this node."""
        try:
            return self.pid in {parent.pid for parent in psutil.Process(pid).parents()}
        except psutil.NoSuchProcess:
            return False

    def lose(self) -> None:
        """End all its processes, as a power cut would."""
        for process in [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]:
            process.kill()
        self._cluster.remove_node(self._node, allow_graceful=False)


@pytest.fixture
def cluster(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster without nodes, whose processes will find the harness, VGG16's weights and a cache of this test."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: pip install 'transfer-harness[ray]'")
    for name, value in {
        "PYTHONPATH": ROOT,
        "HARNESS_CACHE": tmp_path / "cache",
        "HARNESS_VGG16_WEIGHTS": shared / "weights" / "vgg16_imagenet_notop.weights.h5",
        "CUDA_VISIBLE_DEVICES": "",
        "RAY_worker_niceness": "0",  # 15 by default: on a busy machine imports alone would take minutes
    }.items():
        monkeypatch.setenv(name, str(value))
    cluster = utils.Cluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def url(postgres: sa.URL) -> Iterator[str]:
    with postgres_database(postgres) as url:
        yield url


def wait_for(condition: Callable[[], bool], search: subprocess.Popen[str]) -> None:
    while not condition():  # limited by the timeout of the test
        assert search.poll() is None, search.communicate()[0]
        time.sleep(0.2)


def test_a_search_survives_the_loss_of_one_of_two_nodes(
    cluster: Any, url: str, study_file: Path, tmp_path: Path
) -> None:
    kinds = '[search]\nstrategies = ["feature_extraction"]\nhidden_layers = [1, 1]\noptimizer = ["adam"]'
    study_file.write_text(study_file.read_text().replace("[search]", kinds).replace("epochs = 2", "epochs = 4"))
    nodes = Node(cluster), Node(cluster)
    command = [sys.executable, "-m", "harness.run", "--study", study_file, "--trials", str(TRIALS), "--storage", url]
    ray = ["--engine", "ray", "--address", cluster.address, "--workers", "2"]
    search = subprocess.Popen(
        [*command, *ray],
        cwd=tmp_path,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        store = Store(url)

        def look(query: str) -> list[Any]:
            with store.engine.connect() as connection:
                return list(connection.execute(sa.text(query)).all())

        def node_of(session: int) -> int | None:
            ((pid,),) = look(f"select pid from harness_session where id = {session}")
            return next((place for place, node in enumerate(nodes) if node.has(pid)), None)

        places: dict[int, int | None] = {}

        def both_have_finished_some_and_the_second_runs_one() -> bool:
            for session, *_ in look("select id from harness_session"):
                places.setdefault(session, node_of(session))
            done = {places.get(session) for session, *_ in look("select session from trial_summary")}
            running = {
                places.get(session) for session, *_ in look("select session from harness_trial where status is null")
            }
            return done >= {0, 1} and 1 in running

        wait_for(both_have_finished_some_and_the_second_runs_one, search)
        before = look("select number, session, val_accuracy from trial_summary order by number")
        nodes[1].lose()
        output, _ = search.communicate()
    finally:
        search.kill()
    assert search.returncode == 0, output
    assert "died of the loss of its node or process: it is started again" in output
    after = look("select number, session, val_accuracy from trial_summary order by number")
    assert [number for number, *_ in after] == list(range(TRIALS))
    assert set(before) <= set(after), "what had finished before the loss is as it was"
    assert {places.get(session) for _, session, _ in before} == {0, 1}
    retries = look("select sum(retries) from trial_summary")[0][0]
    assert retries >= 1, "the trial of the lost node was run again"
    assert look("select number from harness_trial where status is null") == []
    assert look("select count(*) from trials") == [(TRIALS,)]
    store.engine.dispose()
