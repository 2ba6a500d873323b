"""Loading Keras: its settings, and what reaches standard error meanwhile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core import framework
from harness.core.errors import SpecError
from harness.core.framework import loading, silenced
from tests.conftest import ROOT

GREETINGS = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795990865.886754   22269 port.cc:153] oneDNN custom operations are on. You may see slightly different
E0000 00:00:1795990865.886754   22269 cuda_dnn.cc:8310] Unable to register cuDNN factory
2026-11-29 22:20:11.123456: I tensorflow/core/platform/cpu_feature_guard.cc:182] This TensorFlow binary is optimized
2026-11-29 22:20:11.123456: W external/local_xla/xla/stream_executor/cuda.cc:10] no GPU
To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow
"""
REST = "F0000 00:00:1795990865.886754   22269 port.cc:153] a fatal error\nwhat another thread says\n"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (None, REST),
        (SpecError("no such study"), REST),
        (KeyboardInterrupt(), REST),
        (ZeroDivisionError("a bug"), GREETINGS + REST),
    ],
)
def test_greetings_are_shown_only_with_a_bug(
    capfd: pytest.CaptureFixture[str], error: BaseException | None, shown: str
) -> None:
    def load() -> None:
        with silenced():
            os.write(2, (GREETINGS + REST).encode())
            if error is not None:
                raise error

    if error is None:
        load()
    else:
        with pytest.raises(type(error)):
            load()
    assert capfd.readouterr().err == shown


@pytest.mark.parametrize(
    ("variable", "settings", "message"),
    [
        ("torch", None, r"the environment variable KERAS_BACKEND is set to the backend 'torch': set KERAS_BACKEND to"),
        ("TensorFlow", None, "KERAS_BACKEND to tensorflow or jax"),
        ("", '{"backend": "numpy"}', r"keras\.json is set to the backend 'numpy'"),
        (None, '{"backend": "theano"}', r"keras\.json is set to the backend 'theano'"),
        (None, '{"backend": ["jax"]}', r"keras\.json is set to the backend"),
        (None, "[]", r"keras\.json are no JSON object"),
        ("jax", None, r"'jax', which is not installed: pip install 'transfer-harness\[jax\]', or set KERAS_BACKEND"),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, settings: str | None, message: str
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if settings is not None:
        (tmp_path / "keras.json").write_text(settings)
    monkeypatch.setattr(framework, "find_spec", lambda name: None if name == "jax" else name)
    with pytest.raises(SpecError, match=message), loading():
        pytest.fail("it was loaded")


@pytest.mark.parametrize("settings", ["{", '{"image_data_format": "channels_first"}', '{"backend": "tensorflow"}'])
def test_settings_that_keras_takes_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: str) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    (tmp_path / "keras.json").write_text(settings)
    framework.check_backend()


@pytest.mark.parametrize(("reason", "expected"), [("Invalid `floatx`", SpecError), ("a broken build", ValueError)])
def test_settings_that_keras_refuses_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str, expected: type[Exception]
) -> None:
    (tmp_path / "keras.py").write_text(f"raise ValueError({reason!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with pytest.raises(expected, match=reason):
        framework._load_keras()


@pytest.mark.large
def test_nothing_of_tensorflow_is_printed(tmp_path: Path) -> None:
    children = (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from harness.workers.children import SPAWN, be_worker, load_keras\n"
        "from harness.workers.job import Job\n"
        "from harness.core.spec import DatasetSpec\n"
        "with ProcessPoolExecutor(1, mp_context=SPAWN, initializer=load_keras) as pool:\n"
        "    pool.submit(int).result()\n"
        "job = Job('absent', 'sqlite:///study.db', DatasetSpec(name='x', file='x'), '')\n"
        "process = SPAWN.Process(target=be_worker, args=(job,))\n"
        "process.start(); process.join()\n"
        "raise SystemExit(process.exitcode)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments, message in (
        (["-m", "harness.predict", "nowhere", str(ROOT / "docs" / "images")], "error: there is no model nowhere"),
        (["-c", children], "error: there is no study 'absent'"),
    ):
        outcome = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert outcome.stderr.startswith(message) and outcome.stderr.count("\n") == 1, outcome.stderr
        assert outcome.returncode == 2


@pytest.mark.large
def test_a_default_of_channels_first_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(json.dumps({"image_data_format": "channels_first", "floatx": "float64"}))
    tests = ["-p", "no:cacheprovider", "tests/deployment/test_standalone.py", "tests/training/test_fit.py"]
    tests += ["-k", "probabilities_of_the_network or frozen_layers_stay_and_the_others_move[5]"]
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT,
        env={**os.environ, "KERAS_HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout
