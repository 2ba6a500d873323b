"""Cached activations: right, computed once, whole or not there, bounded."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import psutil
import pytest
from filelock import FileLock

from harness.backbones import activation_cache
from harness.backbones.activation_cache import DiskFull, FeatureCache, Reader, drop_pages
from harness.backbones.devices import as_numpy
from harness.core.clock import Clock
from harness.core.errors import StorageError
from harness.data.dataset import Images
from harness.training.problem import Problem
from tests.conftest import ROOT

BOUNDARIES = (1, 2, 5, 7, 10, 13)


def uncached(problem: Problem, start: int) -> np.ndarray:
    problem.backbone.load(pretrained=True, seed=0)
    values = problem.backbone.prepare(32)(problem.split.train.pixels)
    for stage in problem.backbone.stages[:start]:
        values = stage(values)
    return as_numpy(values)


@pytest.mark.parametrize("start", BOUNDARIES)
def test_activations_are_those_of_the_network(tiny_problem: Problem, start: int) -> None:
    found = tiny_problem.features.get(tiny_problem.split.train, start, 32)
    expected = uncached(tiny_problem, start)
    assert isinstance(found.values, np.memmap)
    assert np.allclose(found.values, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_boundary_zero_is_the_images(tiny_problem: Problem) -> None:
    assert tiny_problem.features.get(tiny_problem.split.train, 0, 32).values is tiny_problem.split.train.pixels


def test_computed_once_and_its_seconds_kept(tiny_problem: Problem) -> None:
    first = tiny_problem.features.get(tiny_problem.split.train, 5, 32)
    again = tiny_problem.features.get(tiny_problem.split.train, 5, 32)
    assert (first.cached, again.cached) == (False, True)
    assert first.seconds == again.seconds > 0


def test_random_convolutions_left_by_a_trial_do_not_leak_into_the_cache(tiny_problem: Problem) -> None:
    tiny_problem.backbone.load(pretrained=False, seed=5)
    found = tiny_problem.features.get(tiny_problem.split.train, 7, 32)
    assert np.allclose(found.values, uncached(tiny_problem, 7), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["images", "start", "weights", "image size", "precision", "preprocessing"])
def test_an_entry_depends_on_all_that_makes_its_values(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    cache, train, start, size = tiny_problem.features, tiny_problem.split.train, 6, 32
    assert not cache.get(train, start, 32).cached and cache.get(train, start, 32).cached
    backbone = tiny_problem.backbone
    if what == "images":
        train = Images(train.pixels ^ 1, train.labels)
    elif what == "start":
        start = 5  # of the same shape
    elif what == "weights":
        monkeypatch.setattr(backbone, "weights", replace(backbone.weights, digest="others"))
    elif what == "image size":
        size = 33  # its maps are as large from the first pool on
    elif what == "precision":
        monkeypatch.setattr(backbone, "dtype", "bfloat16")
    else:
        monkeypatch.setattr(activation_cache, "_PREPROCESSING", "another")
    assert not cache.get(train, start, size).cached


@pytest.mark.parametrize("damage", ["truncated", "other shape", "no record", "not numpy", "one bit"])
def test_a_damaged_entry_is_computed_again(tiny_problem: Problem, damage: str) -> None:
    expected = np.array(tiny_problem.features.get(tiny_problem.split.train, 5, 32).values)
    (entry,) = (path.parent for path in tiny_problem.features.root.glob("*/entry.json"))
    values = entry / "values.npy"
    if damage == "truncated":
        os.truncate(values, values.stat().st_size // 2)
    elif damage == "other shape":
        np.save(values, np.zeros((3, 3)))
    elif damage == "one bit":
        content = bytearray(values.read_bytes())
        content[-1] ^= 1
        values.write_bytes(content)
    elif damage == "no record":
        (entry / "entry.json").unlink()
    else:
        values.write_bytes(b"nothing like it")
    found = tiny_problem.features.get(tiny_problem.split.train, 5, 32)
    assert not found.cached
    assert np.array_equal(found.values, expected)


def test_the_entries_used_longest_ago_make_room(tiny_problem: Problem) -> None:
    train = tiny_problem.split.train
    size = sum(path.stat().st_size for path in _entry(tiny_problem.features, train, 5).iterdir())
    cache = FeatureCache(tiny_problem.features.root, tiny_problem.backbone, max_bytes=2 * size)
    for age, start in enumerate((5, 6)):
        os.utime(_entry(cache, train, start), (1000 + age, 1000 + age))
    cache.get(train, 5, 32)  # used last, though made first
    cache.get(train, 7, 32)  # does not fit next to both
    assert [cache.get(train, start, 32).cached for start in (5, 6)] == [True, False]


def _entry(cache: FeatureCache, images: activation_cache.Images, start: int) -> Path:
    """The folder of the entry that ``get`` made or used, which it touches."""
    seconds = cache.get(images, start, 32).seconds
    newest = max(cache.root.glob("*/entry.json"), key=lambda path: path.parent.stat().st_mtime)
    assert json.loads(newest.read_text())["seconds"] == seconds
    return newest.parent


def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing_behind(tiny_problem: Problem) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"File too large.*free space, or set HARNESS_CACHE"):
            tiny_problem.features.get(tiny_problem.split.train, 5, 32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tiny_problem.features.root.iterdir() if path.is_dir()]


@pytest.fixture
def small_disk(tiny_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureCache]:
    """A cache on a disk of 256 kB of its own: it holds the training set's activations after stage 5, 147 kB, once."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    monkeypatch.setattr(activation_cache, "_SPARE_BYTES", 0)
    yield FeatureCache(disk / "features", tiny_problem.backbone, 10**9)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_without_room_is_said_before_anything_is_computed(
    tiny_problem: Problem, small_disk: FeatureCache, passes: list[tuple[int, int]]
) -> None:
    named = (
        r"activations of 96 images at 32 px after block1_conv2 of VGG16 need 0\.000393 GB, and .*features has .* GB "
        "free: free space, or set HARNESS_CACHE"
    )
    with pytest.raises(DiskFull, match=named):
        small_disk.get(tiny_problem.split.train, 2, 32)
    with pytest.raises(DiskFull, match="activations of 192 images"):
        small_disk.reserve([tiny_problem.split.train] * 2, 5, 32)
    assert passes == [] and not list(small_disk.root.glob("*/"))


def test_a_disk_that_is_full_in_the_middle_of_a_pass_keeps_nothing_of_it(
    tiny_problem: Problem, small_disk: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(DiskFull, match="No space left on device"):
        small_disk.get(tiny_problem.split.train, 5, 32, also=(2,))
    assert not list(small_disk.root.glob("*/"))


def test_old_entries_make_room_on_a_full_disk_and_only_what_fits_is_stored_in_advance(
    tiny_problem: Problem, small_disk: FeatureCache
) -> None:
    train = tiny_problem.split.train
    assert not small_disk.get(train, 5, 32, also=(2,)).cached
    others = Images(train.pixels ^ 1, train.labels)
    assert not small_disk.get(others, 5, 32).cached and small_disk.get(others, 5, 32).cached
    assert len(list(small_disk.root.glob("*/entry.json"))) == 1


def test_a_cache_that_cannot_be_written_serves_what_it_holds(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = tiny_problem.split.train
    expected = np.array(tiny_problem.features.get(train, 5, 32).values)

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(activation_cache, "FileLock", refused)
    monkeypatch.setattr(activation_cache.os, "utime", refused)
    found = tiny_problem.features.get(train, 5, 32)
    assert found.cached and np.array_equal(found.values, expected)
    with pytest.raises(StorageError, match=r"Read-only file system.*set HARNESS_CACHE"):
        tiny_problem.features.get(train, 6, 32)


def test_what_a_killed_builder_left_is_taken_away(tiny_problem: Problem) -> None:
    train = tiny_problem.split.train
    folder = _entry(tiny_problem.features, train, 5)
    left = folder.parent / f"building-{folder.name}-killed"
    folder.rename(left)
    os.truncate(left / "values.npy", 100)
    assert not tiny_problem.features.get(train, 5, 32).cached
    assert not left.exists() and folder.exists()


def test_what_killed_builders_of_other_entries_left_goes_when_room_is_made(tiny_problem: Problem) -> None:
    cache = tiny_problem.features
    left, being_built = (cache.root / f"building-{entry}-x_1" for entry in ("left", "held"))
    for folder in (left, being_built):
        folder.mkdir()
    with FileLock(f"{cache.root}/held.lock"):
        cache.get(tiny_problem.split.train, 5, 32)
        assert not left.exists() and being_built.exists()


@pytest.fixture
def passes(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The stages (start, end) that the network runs, once for each time that all images go through it."""
    run, found = tiny_problem.backbone.forward, list[tuple[int, int]]()

    def forward(values: Any, start: int, end: int, image_size: int) -> Any:
        found.append((start, end))
        return run(values, start, end, image_size)

    monkeypatch.setattr(tiny_problem.backbone, "forward", forward)
    return found


def test_one_pass_stores_all_stages_that_are_asked_for(
    tiny_problem: Problem, passes: list[tuple[int, int]], tmp_path: Path
) -> None:
    train, alone = tiny_problem.split.train, FeatureCache(tmp_path / "alone", tiny_problem.backbone, 10**9)
    expected = {stage: np.array(alone.get(train, stage, 32).values) for stage in (13, 10, 5)}
    passes.clear()
    assert not tiny_problem.features.get(train, 10, 32, also=(13, 10, 5, 0)).cached
    assert passes == [(0, 5), (5, 10)], "and none that lies behind"
    found = {stage: tiny_problem.features.get(train, stage, 32) for stage in (5, 10, 13)}
    assert [entry.cached for entry in found.values()] == [True, True, False]
    assert passes[2:] == [(10, 13)], "a later pass goes on where that one ended"
    assert all(np.array_equal(found[stage].values, values) for stage, values in expected.items())
    assert 0 < found[5].seconds < found[10].seconds < found[13].seconds, "what each takes alone"


def test_a_pass_that_fails_leaves_none_of_its_entries(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_problem.backbone.forward

    def forward(values: Any, start: int, end: int, image_size: int) -> Any:
        if end == 13:
            raise KeyboardInterrupt
        return run(values, start, end, image_size)

    monkeypatch.setattr(tiny_problem.backbone, "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        tiny_problem.features.get(tiny_problem.split.train, 13, 32, also=(5, 10))
    assert not [path for path in tiny_problem.features.root.iterdir() if path.is_dir()]


def test_planned_trials_of_a_size_cost_one_pass(tiny_problem: Problem, passes: list[tuple[int, int]]) -> None:
    for frozen, image_size in [(7, 32), (4, 32), (0, 32), (2, 48)]:
        tiny_problem.expect(frozen, image_size)
    for start in (13, 7, 4):
        tiny_problem.parts(start, 32, Clock())
    assert passes == [(0, 4), (4, 7), (7, 13)] * 2, "the training and the validation set"


@pytest.mark.large
def test_two_processes_compute_an_entry_once(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
import numpy as np
from harness.data.dataset import Images
from harness.backbones.activation_cache import FeatureCache
from tests.conftest import ROOT
from tests.helpers.tiny import tiny_backbone
images = Images(np.arange(64 * 32 * 32, dtype=np.uint32).astype(np.uint8).reshape(64, 32, 32), np.zeros(64, np.int64))
found = FeatureCache(Path(sys.argv[1]), tiny_backbone(), 10**9).get(images, 13, 32, also=(5, 10))
print(found.cached, float(found.values.sum()))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate()[0].split() for process in processes]
    assert sorted(answer[0] for answer in answers) == ["False", "True"]
    assert len({answer[1] for answer in answers}) == 1


def test_what_is_drop_pages_is_no_longer_in_memory_and_reads_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.arange(25_000_000, dtype=np.float32))
    values = np.load(tmp_path / "values.npy", mmap_mode="r")
    before, memory = float(values.sum()), psutil.Process().memory_info
    whole = memory().rss
    drop_pages(values)
    assert whole - memory().rss > 0.9 * values.nbytes
    assert float(values.sum()) == before
    own = np.load(tmp_path / "values.npy", mmap_mode="c")
    own[0] = 7
    for other in (values[:3] * 2, np.ones(3), own):
        drop_pages(other)
    assert own[0] == 7, "what was changed in memory alone is kept"


def test_little_stays_in_memory_of_what_a_reader_has_read(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.arange(25_000_000, dtype=np.float32).reshape(25, -1))
    values = np.load(tmp_path / "values.npy", mmap_mode="r")
    before, reader = psutil.Process().memory_info().rss, Reader(values)
    assert all(reader[[row]][0, 1] == row * 1_000_000 + 1 for row in range(25))
    assert psutil.Process().memory_info().rss - before < 0.7 * values.nbytes


def test_the_precision_of_an_entry_is_the_backbone_s_and_not_the_process_s(tiny_problem: Problem) -> None:
    first = tiny_problem.features.get(tiny_problem.split.train, 5, 32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    again = tiny_problem.features.get(tiny_problem.split.train, 5, 32)
    assert (first.cached, again.cached) == (False, True)
